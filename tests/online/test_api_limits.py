"""How much is taken on, and that Retry-After tells the time until there is room."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from online_farm import OnlineFarm

from deployments.api.settings import ApiSettings, LimitSettings
from deployments.errors import LimitedError
from deployments.principal import OwnLimits, Principal
from deployments.room import Room
from farm.queue.backlog import Backlog, ModelBacklog, OwnerBacklog, Pause

ASK = {"prompt": "a red ball"}
ALICE = Principal(project="a", name="alice", key_id="key_a", scopes=frozenset({"submit"}))
BOB = Principal(project="b", name="bob", key_id="key_b", scopes=frozenset({"submit"}))


class Clock:
    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def backlog(
    seconds: float,
    *,
    num_renderers: int = 1,
    keys: Mapping[str, OwnerBacklog] | None = None,
    pause: Pause | None = None,
) -> Backlog:
    model = ModelBacklog(
        model="nano", num_queued=1, num_running=0, num_renderers=num_renderers, num_busy=0, seconds=seconds,
        device_seconds=seconds, wait_s=seconds, clips_per_minute=0.0,
    )  # fmt: skip
    return Backlog(models={"nano": model}, projects=keys or {}, keys=keys or {}, renderers=(), pause=pause)


def refusal(room: Room, principal: Principal, seconds: float, found: Backlog | None) -> LimitedError:
    with pytest.raises(LimitedError) as caught:
        room.take(principal, seconds, found)
    return caught.value


def test_changes_a_minute() -> None:
    clock = Clock()
    room = Room(LimitSettings(requests_per_minute=6), clock=clock)
    for _ in range(6):
        room.count_request(ALICE)
    with pytest.raises(LimitedError) as caught:
        room.count_request(ALICE)
    room.count_request(BOB)
    wait_s = caught.value.retry_after_s
    assert wait_s == pytest.approx(10.0)
    clock.now_s += wait_s - 0.1
    with pytest.raises(LimitedError):
        room.count_request(ALICE)
    clock.now_s += 0.2
    room.count_request(ALICE)


def test_a_full_queue_tells_when_there_is_room() -> None:
    room = Room(LimitSettings(max_queue_device_seconds=100.0))
    room.take(ALICE, 30.0, backlog(60.0))
    error = refusal(room, ALICE, 20.0, backlog(85.0, num_renderers=2))
    # 85 and the 30 that this replica took on since, and 20 more: 35 too many, which two renderers do in 17.5 s.
    assert (error.fault.code, error.retry_after_s) == ("queue_full", pytest.approx(17.5))
    room.take(ALICE, 20.0, backlog(50.0))


def test_what_was_taken_on_counts_until_the_dispatcher_has_heard_of_it() -> None:
    room, stale = Room(LimitSettings(max_queue_device_seconds=100.0)), backlog(0.0)
    places = [room.take(ALICE, 10.0, stale) for _ in range(10)]
    assert refusal(room, ALICE, 10.0, stale).fault.code == "queue_full"
    refusal(room, ALICE, 10.0, backlog(0.0))
    for place in places[:9]:
        room.told(place)
    room.give_back(places[9])
    # The dispatcher may not have counted those yet.
    room.take(ALICE, 10.0, backlog(0.0))
    refusal(room, ALICE, 10.0, backlog(90.0))
    room.take(ALICE, 10.0, backlog(50.0))


def test_an_empty_queue_takes_anything() -> None:
    Room(LimitSettings(max_queue_device_seconds=1.0, max_key_device_seconds=1.0)).take(ALICE, 5000.0, backlog(0.0))


def test_what_a_key_has_open() -> None:
    room = Room(LimitSettings(max_open_jobs=10))
    keys = {"key_a": OwnerBacklog(num_queued=8, num_running=2, device_seconds=80.0)}
    error = refusal(room, ALICE, 10.0, backlog(300.0, keys=keys))
    assert error.fault.code == "too_many_open_jobs"
    assert error.retry_after_s == pytest.approx(10.0)
    room.take(BOB, 10.0, backlog(300.0, keys=keys))


def test_the_work_that_a_key_has_waiting() -> None:
    room = Room(LimitSettings(max_key_device_seconds=100.0))
    keys = {
        "key_a": OwnerBacklog(num_queued=8, num_running=2, device_seconds=95.0),
        "key_b": OwnerBacklog(num_queued=1, num_running=0, device_seconds=10.0),
    }
    error = refusal(room, ALICE, 10.0, backlog(105.0, keys=keys))
    # 5 too many; of one renderer's time every other second is Bob's.
    assert (error.fault.code, error.retry_after_s) == ("key_queue_full", pytest.approx(10.0))


def test_a_keys_own_limits_count_instead() -> None:
    room = Room(LimitSettings(max_open_jobs=10))
    keys = {"key_a": OwnerBacklog(num_queued=2, num_running=0, device_seconds=2.0)}
    narrow = Principal(
        project="a", name="alice", key_id="key_a", scopes=frozenset(), limits=OwnLimits(max_open_jobs=2)
    )  # fmt: skip
    assert refusal(room, narrow, 1.0, backlog(2.0, keys=keys)).fault.code == "too_many_open_jobs"


def test_while_the_queue_is_paused_nobody_knows_when() -> None:
    room = Room(LimitSettings(max_queue_device_seconds=10.0))
    error = refusal(room, ALICE, 5.0, backlog(10.0, pause=Pause(by="x", at="now")))
    assert error.retry_after_s == 60.0


def test_without_a_dispatcher_what_was_taken_on_here_counts() -> None:
    room = Room(LimitSettings(max_open_jobs=2))
    room.take(ALICE, 1.0, None)
    room.take(ALICE, 1.0, None)
    assert refusal(room, ALICE, 1.0, None).fault.code == "too_many_open_jobs"


def test_the_last_word_of_a_dispatcher_that_is_away_counts_no_longer() -> None:
    room = Room(LimitSettings(max_open_jobs=10, max_queue_device_seconds=100.0))
    full = {"key_a": OwnerBacklog(num_queued=8, num_running=2, device_seconds=80.0)}
    refusal(room, ALICE, 10.0, backlog(80.0, keys=full))
    refusal(room, BOB, 30.0, backlog(80.0, keys=full))
    room.take(ALICE, 10.0, None)
    room.take(BOB, 30.0, None)


def test_over_http(tmp_path: Path) -> None:
    limits = LimitSettings(max_open_jobs=3)
    with OnlineFarm.start(tmp_path / "out", api=ApiSettings(limits=limits)) as farm, farm.client(farm.key()) as client:
        answers = [client.post("/v1/videos", json=ASK) for _ in range(4)]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
        refused = answers[-1]
        assert refused.json()["error"]["code"] == "too_many_open_jobs"
        assert refused.json()["error"]["type"] == "rate_limit_error"
        assert int(refused.headers["retry-after"]) >= 1
        assert len(client.get("/v1/videos").json()["data"]) == 3
        # Repeating one that was taken on is no new one.
        for number in range(2):
            with farm.client(farm.key(f"other{number}")) as other:
                again = {"Idempotency-Key": "one"}
                ids = {other.post("/v1/videos", json=ASK, headers=again).json()["id"] for _ in range(5)}
                assert len(ids) == 1


def test_a_minutes_changes_over_http(tmp_path: Path) -> None:
    limits = LimitSettings(requests_per_minute=2)
    with OnlineFarm.start(tmp_path / "out", api=ApiSettings(limits=limits)) as farm, farm.client(farm.key()) as client:
        statuses = [client.post("/v1/videos", json=ASK).status_code for _ in range(3)]
        assert statuses == [200, 200, 429]
        assert client.get("/v1/videos").status_code == 200
