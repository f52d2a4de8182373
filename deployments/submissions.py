"""Submitting: a draft becomes a job in the storage, if there is room; the dispatcher is told.

A request that was written down before (by its idempotency key) is answered before all else, and one whose clip the
project has already is answered from the ledger: neither takes room.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from anyio import CapacityLimiter, to_thread

from deployments.api.request_spans import tell_submitted
from deployments.drafts import Draft, warnings_for
from deployments.errors import LimitedError
from deployments.inputs.pictures import Pictures
from deployments.principal import Principal
from deployments.refusals import reused_key
from deployments.room import Place, Room
from farm.errors import ClipGoneError, IdempotencyConflict, JobEndedError, NotFoundError
from farm.ledger import read_record
from farm.ledger.refs import holders_of
from farm.logs import fields
from farm.metrics import SUBMISSIONS, Meter
from farm.queue import ids
from farm.queue.backlog import Backlog
from farm.queue.idempotency import IdempotencyKey, earlier_submission
from farm.queue.job import Job, JobState, JobView
from farm.queue.removal import is_held_by
from farm.queue.store import JobStore
from farm.storage import Storage

if TYPE_CHECKING:
    from deployments.clients import DispatchPort

# Threads that fetch pictures, or wait for their decoding: all others are left to who asks for anything else.
NUM_SLOW = 16

_LOG = logging.getLogger(__name__)


class Submissions:
    """Takes jobs on for one output. For one event loop; storage calls run on threads."""

    def __init__(
        self, store: JobStore, dispatch: DispatchPort, room: Room, pictures: Pictures, *, meter: Meter
    ) -> None:
        self._store = store
        self._dispatch = dispatch
        self._room = room
        self._pictures = pictures
        self._meter = meter
        self._slow = CapacityLimiter(NUM_SLOW)
        for result in ("queued", "answered", "repeated", "limited"):
            meter.begin(SUBMISSIONS, result=result)

    async def submit(
        self, principal: Principal, draft: Callable[[], Draft], retry_key: IdempotencyKey | None, *, is_slow: bool
    ) -> JobView:
        """The job that answers the request. `draft` is called on a thread, unless the request was there before.

        Args:
            is_slow: the draft waits for strangers' servers, or for pictures to be decoded.
        """
        backlog = await self._dispatch.backlog()
        # One thread for all that blocks: each change of threads costs as much as the rest of a submission.
        submitted = partial(self._submitted, principal, draft, retry_key, backlog)
        view, place = await to_thread.run_sync(submitted, limiter=self._slow if is_slow else None)
        if not view.state.is_end:
            self._dispatch.submitted(view.job)
        if place is not None:
            self._room.told(place)
        return view

    def _submitted(
        self,
        principal: Principal,
        draft: Callable[[], Draft],
        retry_key: IdempotencyKey | None,
        backlog: Backlog | None,
    ) -> tuple[JobView, Place | None]:
        """The job, and the room that it takes: none where the request was there before, or its clip is."""
        begun_s = time.time()
        if retry_key is not None:
            earlier = _earlier(self._store.storage, retry_key)
            if earlier is not None:
                view = self._store.view(self._put(earlier, retry_key).id)  # what the first try did not come to
                self._tell("repeated", view.job, begun_s=begun_s)
                return view, None
        drafted = draft()
        if drafted.is_seed_given and self._is_held(principal.project, drafted.spec.clip_id):
            view = self._answered(principal, drafted, retry_key)
            self._tell("answered", view.job, begun_s=begun_s)
            return view, None
        estimate = drafted.offer.estimate(drafted.spec)
        place = self._taken(principal, estimate, backlog)
        try:
            view = self._written(principal, drafted, estimate, retry_key)
            self._tell("queued", view.job, begun_s=begun_s)
            return view, place
        except BaseException:
            self._room.give_back(place)
            raise

    def _tell(self, result: str, job: Job, *, begun_s: float) -> None:
        self._meter.record(SUBMISSIONS, result=result)
        known = {"job_id": job.id, "clip_id": job.clip_id, "model": job.model, "project": job.project}
        _LOG.info("job submitted", extra=fields(result=result, **known))
        if result != "repeated":
            tell_submitted(job, result, begun_s=begun_s)

    def _taken(self, principal: Principal, estimate: float | None, backlog: Backlog | None) -> Place:
        try:
            return self._room.take(principal, estimate, backlog)
        except LimitedError:
            self._meter.record(SUBMISSIONS, result="limited")
            _LOG.info("submission limited", extra=fields(project=principal.project))
            raise

    def _written(
        self, principal: Principal, draft: Draft, estimate: float | None, retry_key: IdempotencyKey | None
    ) -> JobView:
        """The picture first: a job that is there can be rendered."""
        if draft.picture is not None:
            self._pictures.keep(self._store.storage, draft.picture)
        job = job_of(principal, draft, estimate, job_id=self._store.new_id(principal.project))
        put = self._put(job, retry_key)
        return JobView(job=put, state=_untouched(put) if put.id == job.id else self._store.state(put.id))

    def _answered(self, principal: Principal, draft: Draft, retry_key: IdempotencyKey | None) -> JobView:
        """A job that has ended before it began, with the clip that is there."""
        job = self._written(principal, draft, 0.0, retry_key).job
        with suppress(ClipGoneError, JobEndedError, NotFoundError):  # the view says what there is instead
            self._store.finish(job.id, "completed", by="api", from_ledger=True, device_seconds=0.0, cost=0.0)
        return self._store.view(job.id)

    def _put(self, job: Job, retry_key: IdempotencyKey | None) -> Job:
        try:
            return self._store.submit(job, idempotency=retry_key)
        except IdempotencyConflict as error:
            raise reused_key() from error

    def _is_held(self, project: str, clip_id: str) -> bool:
        """Whether the clip is there and this project has it: others' clips must not show by the time of an answer."""
        is_ours = any(is_held_by(holder, project) for holder in holders_of(self._store.storage, clip_id))
        return is_ours and read_record(self._store.storage, clip_id) is not None


def job_of(principal: Principal, draft: Draft, estimate: float | None, *, job_id: str) -> Job:
    """The draft as the storage keeps it. `estimate` in device-seconds."""
    return Job(
        id=job_id,
        project=principal.project,
        key_id=principal.key_id,
        created_at=ids.created_at(job_id),
        spec=draft.spec,
        model=draft.offer.name,
        priority=draft.priority,
        weight=None if principal.weight == 1.0 else principal.weight,
        tags=dict(draft.tags),
        device_seconds=estimate,
        is_seed_given=draft.is_seed_given,
        remixed_from=draft.remixed_from,
        extends=draft.extends,
        ttl_s=draft.ttl_s,
        is_pinned=draft.is_pinned,
        warnings=warnings_for(draft),
        asked=dict(draft.asked),
    )


def retry_key_of(key: str, principal: Principal, *, request: bytes) -> IdempotencyKey:
    """An Idempotency-Key header as the store takes it; `request` is all that was asked for."""
    return IdempotencyKey.of(key, project=principal.project, request=request)


def _untouched(job: Job) -> JobState:
    """What the storage says of a job that has just been put down."""
    return JobState(seq=0, epoch=0, status="queued", at=job.created_at, by="client", nonce="")


def _earlier(out: Storage, key: IdempotencyKey) -> Job | None:
    try:
        return earlier_submission(out, key)
    except IdempotencyConflict as error:
        raise reused_key() from error
