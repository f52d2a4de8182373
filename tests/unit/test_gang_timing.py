"""When a silent rank is taken to hang."""

from __future__ import annotations

from farm.workers.gang.timing import GangTiming, Pulse

TIMING = GangTiming(floor_s=1, factor=10, first_s=100, answer_s=5)


def pulse_of(*steps_s: float) -> tuple[Pulse, float]:
    """A pulse after rank 0's steps of these lengths, and the time."""
    pulse, now_s = Pulse(TIMING), 0.0
    pulse.watch([0], "denoise", now_s=now_s)
    for step_s in steps_s:
        now_s += step_s
        pulse.beat(0, at_s=now_s)
    return pulse, now_s


def test_the_first_step_has_a_limit_of_its_own() -> None:
    pulse, _ = pulse_of()
    assert pulse.limit_s(0) == 100
    assert pulse.overdue(now_s=99) == []
    assert pulse.overdue(now_s=100) == [0]


def test_what_it_measured_is_the_limit() -> None:
    pulse, now_s = pulse_of(2.0, 2.0)
    assert pulse.limit_s(0) == 20
    assert pulse.due_s() == now_s + 20


def test_however_fast_it_is_the_floor_holds() -> None:
    pulse, _ = pulse_of(0.001, 0.001)
    assert pulse.limit_s(0) == 1


def test_it_follows_a_slow_down_at_once_and_a_recovery_slowly() -> None:
    pulse, _ = pulse_of(1.0, 5.0)
    assert pulse.limit_s(0) == 50
    pulse, _ = pulse_of(5.0, 1.0)
    assert pulse.limit_s(0) == 30


def test_a_fifth_of_the_speed_is_no_hang() -> None:
    pulse, now_s = pulse_of(1.0, 1.0, 1.0)
    assert pulse.overdue(now_s=now_s + 5.0) == []


def test_another_stage_is_measured_anew_and_remembered() -> None:
    pulse, now_s = pulse_of(1.0)
    pulse.watch([0], "decode", now_s=now_s)
    assert pulse.limit_s(0) == 100
    pulse.watch([0], "denoise", now_s=now_s)
    assert pulse.limit_s(0) == 10


def test_time_that_the_leader_was_away_is_nobodys_silence() -> None:
    pulse, now_s = pulse_of(1.0)
    pulse.resume(now_s=now_s + 1000)
    assert pulse.overdue(now_s=now_s + 1009) == []
    assert pulse.overdue(now_s=now_s + 1010) == [0]


def test_each_rank_has_its_own_silence() -> None:
    pulse = Pulse(TIMING)
    pulse.watch([0, 1, 2], "denoise", now_s=0)
    pulse.unwatch(2)
    pulse.beat(0, at_s=1.0)
    assert pulse.due_s() == 10  # rank 1, by what rank 0 measured
    assert pulse.overdue(now_s=10.5) == [1]
