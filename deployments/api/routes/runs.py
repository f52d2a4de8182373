"""/v1/runs: the batch runs of the same output."""

from __future__ import annotations

import asyncio
import time

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool

from deployments.api.access import Admin, Service
from deployments.api.answers import PauseAnswer, Run, RunList, RunStatus
from deployments.api.documenting import ok
from deployments.api.routes import examples
from deployments.service import VideoService
from farm.layout import report_path
from farm.run_progress import RunProgress, Spent, read_progress, read_spent
from farm.storage import Storage

router = APIRouter(prefix="/v1/runs", tags=["runs"])

# Counting a run's clips lists the ledger: what is answered may be that old.
FRESH_S = 5.0


class RunsSeen:
    """The runs as they were a moment ago; of many who ask at once, one has them counted."""

    def __init__(self) -> None:
        self._runs: list[Run] = []
        self._at_s: float | None = None
        self._lock = asyncio.Lock()
        self._spent: dict[tuple[str, float], Spent | None] = {}

    async def runs(self, service: VideoService) -> list[Run]:
        async with self._lock:
            if self._at_s is None or time.monotonic() - self._at_s > FRESH_S:
                self._runs = await run_in_threadpool(self._read, service.out, service.currency)
                self._at_s = time.monotonic()
            return self._runs

    def _read(self, out: Storage, currency: str) -> list[Run]:
        found = [self._shown(out, run, currency) for run in read_progress(out).runs]
        return sorted(found, key=lambda run: run.started_at or 0, reverse=True)

    def _shown(self, out: Storage, run: RunProgress, currency: str) -> Run:
        spent = None
        if run.ended_s is not None:
            key = (run.card.run_id, run.ended_s)
            if key not in self._spent:
                self._spent[key] = read_spent(out, run.card.run_id)
            spent = self._spent[key]
        return _shown(out, run, spent, currency)


@router.get("", summary="Batch runs", responses={200: ok("The newest first.", examples.RUN_LIST)})
async def list_runs(request: Request, service: Service, _: Admin) -> RunList:
    """How far the runs of `wanfarm render` into this output are. They are no project's, so an admin's to see."""
    seen: RunsSeen = request.app.state.runs_seen
    return RunList(data=await seen.runs(service))


def _shown(out: Storage, run: RunProgress, spent: Spent | None, currency: str) -> Run:
    card, stop = run.card, run.stop
    cost = None if spent is None else spent.cost
    return Run(
        run_id=card.run_id,
        model=card.model_name,
        manifest_uri=card.manifest_uri,
        status=_status(run),
        stop=PauseAnswer.of(stop),
        started_at=None if run.begun_s is None else int(run.begun_s),
        finished_at=None if run.ended_s is None else int(run.ended_s),
        num_rows=card.num_rows,
        num_clips=run.num_clips,
        num_done=run.num_done,
        num_failed=run.num_failed,
        num_rejected=card.num_rejected,
        clips_per_minute=run.clips_per_minute,
        eta_s=run.eta_s,
        device_seconds=None if spent is None else spent.device_seconds,
        cost=cost,
        currency=None if cost is None else currency,
        report_uri=None if run.ended_s is None else out.uri_of(report_path(card.run_id)),
    )


def _status(run: RunProgress) -> RunStatus:
    if run.state == "ended":
        return "finished"
    if run.state == "interrupted" and run.num_done + run.num_failed == 0:
        return "planned"
    return run.state
