"""A gang of the fake backend, in real processes: what becomes of orders and ranks, whatever happens to them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from gang_orders import PLAN, Recorder, frames_of, order_of, spec_of

from farm.errors import (
    ClipYielded,
    GangStartError,
    HangError,
    InputError,
    MemoryExhaustedError,
    ModelError,
    NotFiniteError,
    RankLostError,
    StorageError,
)
from farm.parallelism import ParallelPlan
from farm.sampler_state import misfit, read_header
from farm.workers.engine import CheckpointPolicy, Frames, ModelPlan, Order, SamplerState, Unwatched
from farm.workers.fake import FakeBackend
from farm.workers.gang import Gang, GangTiming

FAKE = "farm.workers.fake:FakeBackend"
EXITING = f"{__name__}:ExitingBackend"
WEIGHTLESS = f"{__name__}:WeightlessBackend"
# Small enough for a test that waits for a hang, and far above what a busy machine may take for a step of the fake.
TIMING = GangTiming(floor_s=3, first_s=3, load_s=60, answer_s=3)

Open = Callable[..., Gang]


class ExitingBackend(FakeBackend):
    """Its ranks end while they load."""

    def open_render(self, plan: ModelPlan, seat: Any = None) -> Any:
        print("the device is on fire", file=sys.stderr, flush=True)
        os._exit(7)


class WeightlessBackend(FakeBackend):
    """Its weights do not load."""

    def open_render(self, plan: ModelPlan, seat: Any = None) -> Any:
        raise ModelError("there is no such model")


@pytest.fixture
def gang_of(tmp_path: Path) -> Iterator[Open]:
    """Opens gangs of so many ranks; all of them are closed, and nothing may be left."""
    gangs, folder = list[Gang](), tmp_path / "bench"
    folder.mkdir()
    num_fds, threads = psutil.Process().num_fds(), set(threading.enumerate())
    others = set(psutil.Process().children())  # as a server that other tests share

    def open_gang(degree: int = 1, *, backend: str = FAKE, timing: GangTiming = TIMING, **more: Any) -> Gang:
        gangs.append(Gang(plan_of(degree), backend=backend, folder=folder, timing=timing, **more))
        return gangs[-1]

    yield open_gang
    for gang in gangs:
        gang.close()
    assert set(psutil.Process().children()) <= others
    assert not list(folder.iterdir())
    assert set(threading.enumerate()) <= threads  # those of earlier tests may have ended meanwhile
    assert psutil.Process().num_fds() <= num_fds


def plan_of(degree: int) -> ModelPlan:
    return ModelPlan(**PLAN, parallel=ParallelPlan(ulysses_degree=degree))


def alone(order: Order) -> Frames:
    """What one engine in this process makes of it."""
    return frames_of(FakeBackend().open_render(plan_of(1)), order)


def ranks() -> list[psutil.Process]:
    """This process's ranks, in order."""
    found = [child for child in psutil.Process().children() if "farm.workers.gang.rank" in child.cmdline()]
    return sorted(found, key=lambda child: int(child.cmdline()[child.cmdline().index("--rank") + 1]))


@pytest.mark.parametrize("degree", [1, 3])
def test_any_degree_makes_the_same_frames(gang_of: Open, degree: int) -> None:
    gang, watch, order = gang_of(degree), Recorder(), order_of(num_frames=9)
    frames = frames_of(gang, order, watch)
    assert np.array_equal(frames, alone(order))
    assert watch.steps == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert [state.step for state in watch.states] == [4]
    assert len(ranks()) == degree
    assert np.array_equal(frames_of(gang, order), frames)


def test_the_leader_loads_no_torch(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; import farm.workers.wan; from farm.workers.engine import *\n"
        "from farm.workers.gang import Gang\n"
        "plan = ModelPlan(name='n', path='nano', fingerprint='f', dtype='float32', device='cpu', threads=1)\n"
        "Gang(plan, backend=WAN_BACKEND, folder=Path('.')); open_backend(WAN_BACKEND).clean_prompt(' a ')\n"
        "assert not {'torch', 'transformers', 'ray'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=tmp_path, env=environment(), timeout=60)


def environment() -> dict[str, str]:
    return dict(os.environ) | {"PYTHONPATH": os.pathsep.join(sys.path)}


def test_a_fake_rank_loads_no_torch(gang_of: Open) -> None:
    gang_of().start()
    (rank,) = ranks()
    maps = Path(f"/proc/{rank.pid}/maps").read_text()
    assert "numpy" in maps
    assert "libtorch" not in maps


def test_it_says_how_it_renders_before_the_first_order(gang_of: Open) -> None:
    gang, spec = gang_of(2), spec_of()
    execution, tame = gang.execution(spec), gang.execution(spec, is_tame=True)
    assert (execution.degree, execution.parallel, execution.tiling) == (2, "ulysses=2 cfg=1", None)
    assert (tame.degree, tame.parallel, tame.tiling) == (1, None, "rows/4")
    assert execution.encoder["encoder"] == "libx264"


@pytest.mark.parametrize(
    ("prompt", "raised"),
    [("fake:input", InputError), ("fake:nan", NotFiniteError), ("fake:nan-decode", NotFiniteError)],
)
def test_a_fault_that_all_ranks_meet_leaves_them_up(gang_of: Open, prompt: str, raised: type[Exception]) -> None:
    gang = gang_of(2)
    gang.start()
    before = [rank.pid for rank in ranks()]
    with pytest.raises(raised):
        frames_of(gang, order_of(prompt))
    assert len(frames_of(gang, order_of())) == 5
    assert [rank.pid for rank in ranks()] == before


@pytest.mark.parametrize(
    ("prompt", "raised"),
    [
        ("fake:oom", MemoryExhaustedError),
        ("fake:bug", ZeroDivisionError),
        ("fake:input-rank=1 fake:slow=40", InputError),  # the other rank does not answer in time
    ],
)
def test_other_faults_break_it_and_it_is_built_anew(gang_of: Open, prompt: str, raised: type[Exception]) -> None:
    causes = list[str]()
    gang = gang_of(2, on_break=causes.append, timing=GangTiming(floor_s=3, first_s=30, load_s=60, answer_s=1))
    gang.start()
    before = {rank.pid for rank in ranks()}
    with pytest.raises(raised) as caught:
        frames_of(gang, order_of(prompt, num_inference_steps=1))
    assert any("farm/workers/fake.py" in note for note in caught.value.__notes__)
    assert causes == [raised.__name__]
    assert ranks() == []
    assert len(frames_of(gang, order_of())) == 5
    assert not before & {rank.pid for rank in ranks()}


@pytest.mark.parametrize("prompt", ["fake:die-rank=1", "fake:die-decode-rank=1", "fake:die-decode"])
def test_a_lost_rank_is_named_with_its_signal(gang_of: Open, prompt: str) -> None:
    gang, lost = gang_of(2), "1" if "rank=1" in prompt else "0"
    with pytest.raises(RankLostError, match=rf"rank {lost} \(pid \d+\) was killed by SIGKILL"):
        frames_of(gang, order_of(f"{prompt} fake:slow=0.2"))
    gang.rebuild()
    assert np.array_equal(frames_of(gang, order_of()), alone(order_of()))


def test_a_rank_lost_between_two_orders_costs_no_clip(gang_of: Open) -> None:
    gang = gang_of(2)
    gang.start()
    victim = ranks()[1]
    victim.kill()
    wait_until(lambda: not victim.is_running() or victim.status() == psutil.STATUS_ZOMBIE)
    time.sleep(0.1)
    assert len(frames_of(gang, order_of())) == 5


def test_a_hang_ends_with_the_stacks_of_the_ranks(gang_of: Open) -> None:
    gang = gang_of(2)
    with pytest.raises(HangError) as caught:
        frames_of(gang, order_of("fake:hang-rank=1"))
    message = str(caught.value)
    assert "nothing was heard of rank 1 for 3 s" in message
    assert "rank 0 (pid" in message
    assert "fake.py" in message.partition("rank 1 (pid")[2]
    assert len(frames_of(gang, order_of())) == 5


def test_a_stopped_rank_hangs_and_its_state_is_told(gang_of: Open) -> None:
    gang, watch = gang_of(2), Recorder()
    watch.at_step = lambda done: ranks()[0].suspend() if done == 2 else None
    with pytest.raises(HangError, match=r"rank 0 \(pid \d+, state T\)"):
        frames_of(gang, order_of("fake:slow=1"), watch)
    assert ranks() == []


def test_a_rank_at_a_fifth_of_its_speed_is_no_hang(gang_of: Open) -> None:
    gang = gang_of(2, timing=GangTiming(floor_s=0.1, first_s=20, load_s=60))

    def hold() -> None:
        slow = ranks()[1]
        for _ in range(2):  # the steps that are left: what comes after the last has a limit of its own, of these 0.1 s
            slow.suspend()
            time.sleep(2.4)
            slow.resume()
            time.sleep(0.6)

    thread = threading.Thread(target=hold)
    watch = Recorder(at_step=lambda done: thread.start() if done == 2 else None)
    try:
        order = order_of("fake:slow=2.4", num_inference_steps=4)  # a step of 0.6 s takes 3 s, and may take 6
        assert np.array_equal(frames_of(gang, order, watch), alone(order))
    finally:
        thread.join()


def test_a_clip_goes_on_from_any_state(gang_of: Open) -> None:
    gang, watch = gang_of(2), Recorder()
    order = order_of(num_inference_steps=7, policy=CheckpointPolicy(every_steps=2))
    frames = frames_of(gang, order, watch)
    assert [state.step for state in watch.states] == [2, 4, 6, 7]
    for state in watch.states:
        header = read_header(state.data)
        assert misfit(header, order.spec, gang.execution(order.spec)) is None
        again = Recorder()
        resumed = order_of(num_inference_steps=7, state=state)
        assert np.array_equal(frames_of(gang, resumed, again), frames)
        assert [done for done, _ in again.steps] == list(range(state.step + 1, 8))


def test_states_outlive_the_rank_that_kept_them(gang_of: Open, tmp_path: Path) -> None:
    prompt = f"fake:die-rank=1-once={tmp_path / 'died'} fake:slow=0.4"
    gang, watch = gang_of(2), Recorder()
    policy = CheckpointPolicy(every_steps=1)
    with pytest.raises(RankLostError):
        frames_of(gang, order_of(prompt, num_inference_steps=8, policy=policy), watch)
    newest = watch.states[-1]
    frames = frames_of(gang, order_of(prompt, num_inference_steps=8, state=newest))
    assert np.array_equal(frames, alone(order_of(prompt, num_inference_steps=8)))


def test_a_wish_to_stop_holds_for_the_step_in_work(gang_of: Open) -> None:
    gang, watch = gang_of(2), Recorder()
    gang.start()

    def wish_halfway(done: int) -> None:
        if done == 1:
            threading.Timer(0.4, lambda: setattr(watch, "yield_at", 0)).start()

    watch.at_step = wish_halfway
    with pytest.raises(ClipYielded):
        frames_of(gang, order_of("a red circle fake:slow=4"), watch)  # a second a step
    assert [state.step for state in watch.states] == [2]


def test_a_clip_is_put_down_at_a_state(gang_of: Open) -> None:
    gang, watch = gang_of(2), Recorder(yield_at=3)
    order = order_of("fake:slow=0.5", num_inference_steps=10)
    with pytest.raises(ClipYielded):
        frames_of(gang, order, watch)
    (state,) = watch.states
    assert 3 <= state.step < 10
    again = order_of("fake:slow=0.5", num_inference_steps=10, state=state)
    assert np.array_equal(frames_of(gang, again), alone(order))


def test_a_watch_that_raises_leaves_a_gang_fit_for_the_next(gang_of: Open) -> None:
    class Full(Unwatched):
        def keep(self, state: SamplerState) -> None:
            raise StorageError("put", "state", "no space left")

    gang = gang_of(2)
    gang.start()
    before = [rank.pid for rank in ranks()]
    slow = order_of("fake:slow=0.5", num_inference_steps=5, policy=CheckpointPolicy(every_steps=1))
    with pytest.raises(StorageError, match="no space left"):
        frames_of(gang, slow, Full())
    assert np.array_equal(frames_of(gang, order_of(seed=2)), alone(order_of(seed=2)))
    chunks = gang.render(order_of(num_frames=81), Unwatched())
    next(chunks)
    del chunks  # its encoder failed, say
    assert np.array_equal(frames_of(gang, order_of(seed=3)), alone(order_of(seed=3)))
    assert [rank.pid for rank in ranks()] == before


def test_a_gang_closes_in_the_middle_of_a_clip(gang_of: Open) -> None:
    gang = gang_of(2)
    chunks = gang.render(order_of("fake:slow=1", num_frames=81), Unwatched())
    next(chunks)
    gang.close()
    assert ranks() == []
    chunks.close()


def test_a_tame_order_is_rank_0s_alone(gang_of: Open) -> None:
    gang = gang_of(2)
    assert len(frames_of(gang, order_of("fake:die-rank=1", is_tame=True))) == 5
    with pytest.raises(MemoryExhaustedError):
        frames_of(gang, order_of("fake:oom-whole"))
    assert len(frames_of(gang, order_of("fake:oom-whole", is_tame=True))) == 5


def test_ranks_that_end_while_they_load_say_why(gang_of: Open) -> None:
    gang = gang_of(2, backend=EXITING)
    with pytest.raises(GangStartError, match=r"(?s)rank \d \(pid \d+\) ended with code 7.*the device is on fire"):
        frames_of(gang, order_of())
    assert ranks() == []


def test_weights_that_do_not_load_are_not_the_gangs_fault(gang_of: Open) -> None:
    with pytest.raises(ModelError, match="no such model"):
        gang_of(2, backend=WEIGHTLESS).start()


def test_ranks_that_are_never_ready_are_no_gang(gang_of: Open) -> None:
    gang = gang_of(1, timing=GangTiming(load_s=0.001))
    with pytest.raises(GangStartError, match="not ready within the time"):
        gang.start()


def test_a_killed_leader_takes_its_ranks_along(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from gang_orders import *; from farm.parallelism import ParallelPlan\n"
        "from farm.workers.engine import ModelPlan; from farm.workers.gang import Gang\n"
        "plan = ModelPlan(**PLAN, parallel=ParallelPlan(ulysses_degree=2))\n"
        f"gang = Gang(plan, backend={FAKE!r}, folder=Path({str(tmp_path)!r})); gang.start(); print('up', flush=True)\n"
        "frames_of(gang, order_of('fake:slow=60'))"
    )
    leader = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, env=environment())
    assert leader.stdout is not None
    assert leader.stdout.readline() == b"up\n"
    children = psutil.Process(leader.pid).children()
    assert len(children) == 2
    leader.send_signal(signal.SIGKILL)
    leader.wait()
    leader.stdout.close()
    _, alive = psutil.wait_procs(children, timeout=2)
    assert alive == []
    assert not list(tmp_path.iterdir())


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)
