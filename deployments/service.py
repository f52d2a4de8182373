"""VideoService: what the API does, without HTTP. Jobs lie in the storage; the dispatcher is only told and asked.

Every call works with the dispatcher away, but that nobody can say then how far a job is. Storage calls run on threads.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from starlette.concurrency import run_in_threadpool

from deployments.api.asked import Asked
from deployments.api.settings import ApiSettings
from deployments.drafts import Draft, Drafting
from deployments.errors import ConflictError, MissingError
from deployments.inputs.pictures import Pictures
from deployments.media import Media, Variant, last_frame, media_of
from deployments.offers import Offer
from deployments.principal import Principal
from deployments.refusals import gone, missing
from deployments.room import Room
from deployments.submissions import Submissions
from farm.control import Action, Command, give_command, standing_stop
from farm.errors import JobActiveError, NotFoundError
from farm.logs import fields
from farm.metrics import Meter, NoMeter
from farm.queue import ids
from farm.queue.backlog import Backlog, Progress
from farm.queue.idempotency import IdempotencyKey
from farm.queue.job import Job, JobView, Status
from farm.queue.listing import Order
from farm.queue.store import JobStore
from farm.storage import Storage

if TYPE_CHECKING:
    from deployments.clients import DispatchPort

T = TypeVar("T")

# A deleted job that is in work ends at its next step; so long is waited for that.
DELETE_S = 30.0
_LOOK_AGAIN_S = 0.2

ONLINE = "online"

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A job as it is now: what the storage says, and what the dispatcher has heard since."""

    view: JobView
    progress: Progress | None = None

    @property
    def job(self) -> Job:
        return self.view.job

    @property
    def status(self) -> Status:
        """The storage has the last word; before that, the dispatcher knows more."""
        if self.view.state.is_end or self.progress is None or self.progress.status not in ("queued", "in_progress"):
            return self.view.state.status
        return self.progress.status


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotPage:
    """Some of a project's jobs. `next_after` leads to the page behind it."""

    snapshots: tuple[Snapshot, ...]
    next_after: str | None


class VideoService:
    """Serves one output. For one event loop; `close` ends its helpers.

    Args:
        offers: by name; the first is what a request gets that names none.
        currency: of costs.
    """

    def __init__(
        self,
        *,
        store: JobStore,
        dispatch: DispatchPort,
        offers: Mapping[str, Offer],
        pictures: Pictures,
        settings: ApiSettings | None = None,
        currency: str = "USD",
        clock: Callable[[], float] = time.monotonic,
        meter: Meter | None = None,
    ) -> None:
        self.store = store
        self.dispatch = dispatch
        self.offers = offers
        self.settings = settings or ApiSettings()
        self.currency = currency
        self.room = Room(self.settings.limits, clock=clock)
        self._pictures = pictures
        self._submissions = Submissions(store, dispatch, self.room, pictures, meter=meter or NoMeter())
        self._drafting = Drafting(offers, pictures, inputs_uri=store.storage.uri)

    @property
    def out(self) -> Storage:
        return self.store.storage

    def close(self) -> None:
        self._pictures.close()

    async def submit(self, principal: Principal, asked: Asked, *, retry_key: IdempotencyKey | None = None) -> Snapshot:
        """A new job, or the one that the same request made before. InvalidError with all faults, LimitedError."""
        is_slow = asked.picture_field is not None
        return await self._new(principal, lambda: self._drafting.create(asked), retry_key, is_slow=is_slow)

    async def remix(
        self, principal: Principal, job_id: str, prompt: str, *, retry_key: IdempotencyKey | None = None
    ) -> Snapshot:
        """The clip of a job with another prompt."""
        source = await self._own(principal, job_id)
        return await self._new(principal, lambda: self._drafting.remix(source, prompt), retry_key)

    async def extend(
        self, principal: Principal, job_id: str, asked: Asked, *, retry_key: IdempotencyKey | None = None
    ) -> Snapshot:
        """A clip that begins where a finished one ends."""
        source = await self._finished(principal, job_id)

        def draft() -> Draft:
            if source.record is None:
                raise gone(job_id)
            picture = self._pictures.check(last_frame(self.out, source.record))
            return self._drafting.extend(source, asked, picture)

        return await self._new(principal, draft, retry_key, is_slow=True)

    async def retry(self, principal: Principal, job_id: str, *, retry_key: IdempotencyKey | None = None) -> Snapshot:
        """The clip of a failed or cancelled job once more, as a new job."""
        source = (await self.get(principal, job_id)).view
        if source.state.status not in ("failed", "cancelled"):
            raise ConflictError(
                f"{job_id} is {source.state.status}; only failed and cancelled videos are tried again",
                code="not_failed",
                advice="submit the request anew for another one",
            )

        return await self._new(principal, lambda: self._drafting.again(source.job), retry_key)

    async def get(self, principal: Principal, job_id: str) -> Snapshot:
        """A job of the project's. MissingError where there is none, also for those of others."""
        view = await self._view(principal, job_id)
        progress = None if view.state.is_end else await self.dispatch.progress(job_id)
        return Snapshot(view=view, progress=progress)

    async def list(
        self, principal: Principal, *, after: str | None, limit: int, order: Order, statuses: Collection[Status] | None
    ) -> SnapshotPage:
        """The project's jobs by their creation."""
        if after is not None and not ids.is_job_id(after):
            raise MissingError(f"there is no video {after[:60]!r} to go on after", field="after")
        page = await run_in_threadpool(
            self.store.list,
            principal.project,
            after=after,
            limit=limit,
            order=order,
            statuses=statuses,
            with_records=True,
        )
        unfinished = [view.job.id for view in page.jobs if not view.state.is_end]
        progresses = await self.dispatch.progresses(unfinished) if unfinished else {}
        snapshots = [Snapshot(view=view, progress=progresses.get(view.job.id)) for view in page.jobs]
        return SnapshotPage(snapshots=tuple(snapshots), next_after=page.next_after)

    async def cancel(self, principal: Principal, job_id: str) -> Snapshot:
        """Have a job end: at once where nobody is at it, else at its next step. Ended ones stay as they are."""
        await self._own(principal, job_id)
        await self._wish_end(principal, job_id)
        return await self.get(principal, job_id)

    async def delete(self, principal: Principal, job_id: str) -> None:
        """Leave nothing of a job: cancel it, wait for its end, remove it. ConflictError where it does not end."""
        await self._own(principal, job_id)
        await self._wish_end(principal, job_id)
        until_s = asyncio.get_running_loop().time() + DELETE_S
        while True:
            try:
                await run_in_threadpool(self.store.remove, job_id)
            except NotFoundError:
                return
            except JobActiveError:
                if asyncio.get_running_loop().time() > until_s:
                    raise ConflictError(
                        f"{job_id} is cancelled, but has not ended within {DELETE_S:.0f} s",
                        code="still_ending",
                        advice="delete it again: it goes as soon as its present step is done",
                    ) from None
                await asyncio.sleep(_LOOK_AGAIN_S)
            else:
                return

    async def media(self, principal: Principal, job_id: str, variant: Variant) -> Media:
        """A file of a finished job. ConflictError where it is not finished."""
        view = await self._finished(principal, job_id)
        if view.record is None:
            raise gone(job_id)
        try:
            return await run_in_threadpool(media_of, self.out, view.record, variant, name=job_id)
        except NotFoundError as error:
            raise gone(job_id) from error

    async def owner(self, job_id: str) -> Principal:
        """Its project, as a reader: for addresses that were signed for it."""
        try:
            job = await run_in_threadpool(self.store.get, job_id)
        except NotFoundError as error:
            raise missing(job_id) from error
        return Principal(project=job.project, name="signed address", scopes=frozenset({"read"}))

    async def backlog(self) -> Backlog | None:
        """The queue as the dispatcher sees it, None while it is away."""
        return await self.dispatch.backlog()

    async def standing_pause(self) -> Command | None:
        """The word that holds the queue, as the storage has it."""
        return await run_in_threadpool(standing_stop, self.out, ONLINE)

    async def control(self, action: Action, *, by: str) -> Command:
        """Pause or resume the rendering of online jobs."""
        return await run_in_threadpool(give_command, self.out, ONLINE, action, by=by)

    async def view(self, principal: Principal, job_id: str) -> JobView:
        """What the storage says of a job."""
        return await self._view(principal, job_id)

    async def _new(
        self,
        principal: Principal,
        draft: Callable[[], Draft],
        retry_key: IdempotencyKey | None,
        *,
        is_slow: bool = False,
    ) -> Snapshot:
        view = await self._submissions.submit(principal, draft, retry_key, is_slow=is_slow)
        progress = None if view.state.is_end or retry_key is None else await self.dispatch.progress(view.job.id)
        return Snapshot(view=view, progress=progress)

    async def _wish_end(self, principal: Principal, job_id: str) -> None:
        try:
            await run_in_threadpool(self.store.wish_cancel, job_id, by=principal.name)
        except NotFoundError as error:
            raise missing(job_id) from error
        _LOG.info("job is to be cancelled", extra=fields(job_id=job_id, by=principal.name))
        await self.dispatch.cancel(job_id)

    async def _own(self, principal: Principal, job_id: str) -> Job:
        try:
            job = await run_in_threadpool(self.store.get, job_id)
        except NotFoundError as error:
            raise missing(job_id) from error
        if job.project != principal.project:
            raise missing(job_id)
        return job

    async def _view(self, principal: Principal, job_id: str) -> JobView:
        try:
            view = await run_in_threadpool(self.store.view, job_id)
        except NotFoundError as error:
            raise missing(job_id) from error
        if view.job.project != principal.project:
            raise missing(job_id)
        return view

    async def _finished(self, principal: Principal, job_id: str) -> JobView:
        view = await self._view(principal, job_id)
        if view.state.status != "completed":
            raise ConflictError(
                f"{job_id} is {view.state.status}, so it has no content",
                code="not_completed",
                advice="wait until its status is completed" if not view.state.is_end else "submit it again",
            )
        return view
