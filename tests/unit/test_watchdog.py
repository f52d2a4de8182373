"""What the driver takes for trouble with Ray's workers, and what not."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from jobs.watchdog import Watchdog, WorkerState, trouble_with

SOON_S = 30.0


def worker(*, restarts: int = 0, death: str | None = None) -> WorkerState:
    return WorkerState(actor_id="a", num_restarts=restarts, death=death)


@pytest.mark.parametrize(
    ("workers", "says"),
    [
        ([], None),
        ([worker(), worker(restarts=2)], None),
        # As Ray Data ends its own at the end of their input.
        ([worker(death="REF_DELETED"), worker(death="RAY_KILL"), worker(death="OUT_OF_SCOPE")], None),
        ([worker(), worker(death="WORKER_DIED")], "gone for good (WORKER_DIED)"),
        ([worker(death="creation_task_failure_context")], "gone for good"),
        ([worker(restarts=9), worker(restarts=4)], "crashed 11 times"),
    ],
)
def test_trouble(workers: list[WorkerState], says: str | None) -> None:
    found = trouble_with(workers, restarts_before=2, max_restarts=10)
    assert found is None if says is None else says in (found or "")


def wait_for(condition: Callable[[], bool]) -> None:
    end_s = time.monotonic() + SOON_S
    while not condition():
        assert time.monotonic() < end_s
        time.sleep(0.01)


def test_a_watchdog_outlives_a_cluster_that_does_not_answer() -> None:
    answers = [[worker()], None, [worker(death="WORKER_DIED")]]
    asked = threading.Event()

    def look() -> list[WorkerState]:
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        asked.set()
        if answer is None:
            raise ConnectionError("no answer")
        return answer

    watchdog = Watchdog(look, num_workers=1, patience_s=3600, poll_s=0.01)
    assert asked.wait(SOON_S)
    wait_for(lambda: watchdog.trouble is not None)
    assert "gone for good" in (watchdog.trouble or "")


def test_crashes_count_from_the_last_clip_that_ended() -> None:
    now = [worker()]
    watchdog = Watchdog(lambda: now, num_workers=1, patience_s=3600, poll_s=0.01)
    seen = threading.Event()
    for restarts in range(1, 30):
        now = [worker(restarts=restarts)]
        seen.wait(0.03)
        watchdog.moved()
    assert watchdog.trouble is None
    now = [worker(restarts=99)]
    wait_for(lambda: watchdog.trouble is not None)
    assert "no clip ended" in (watchdog.trouble or "")


def test_silence_is_trouble_when_patience_ends() -> None:
    watchdog = Watchdog(list, num_workers=1, patience_s=0.2)
    watchdog.moved()
    wait_for(lambda: watchdog.trouble is not None)
    assert "no clip ended for" in (watchdog.trouble or "")
    watchdog.moved()
    watchdog.close()
