"""How many devices a clip gets: what the planner chooses for the official models, what it refuses, and what it says."""

from __future__ import annotations

import pytest

from farm.cost import Tally, cost_of
from farm.degrees import Choice, Demand, Hardware, choose
from farm.errors import UsageError
from farm.memory import GIB, Need
from farm.models import CARDS, ModelRef
from farm.normalise import normalise
from farm.parallelism import ParallelPlan, Wanted
from farm.request import RowRequest
from farm.spec import RenderOptions
from farm.speed_up import WHOLE_FAST, WHOLE_SLOW, speed_up

H100, L40S, RTX4090 = "nvidia-h100", "nvidia-l40s", "nvidia-geforce-rtx-4090"
SMALL, MIDDLE, LARGE, TWO = "wan2.1-t2v-1.3b", "wan2.2-ti2v-5b", "wan2.1-t2v-14b", "wan2.2-t2v-a14b"


def demand(model: str, *, num_clips: int = 1000, **fields: object) -> Demand:
    ref = ModelRef(name=model, path="/m", card=CARDS[model], fingerprint="f")
    request = RowRequest.model_validate({"prompt": "x", **fields})
    tally = Tally(card=ref.card)
    for _ in range(num_clips):
        tally.add(cost_of(normalise(request, ref, options=RenderOptions(), seed=0), ref.card))
    return tally.demand


def hardware(device: str, num_devices: int, *, per_node: int = 8) -> Hardware:
    return Hardware(device=device, num_devices=num_devices, per_node=min(per_node, num_devices))


def chosen(model: str, device: str, num_devices: int, **wanted: object) -> Choice:
    return choose([demand(model)], hardware(device, num_devices), Wanted(**wanted))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("model", "device", "num_devices", "goal", "plan", "fits"),
    [
        (SMALL, RTX4090, 1, None, (1, 1), True),
        (SMALL, RTX4090, 8, None, (1, 1), True),
        (SMALL, RTX4090, 8, "latency", (4, 2), True),
        (SMALL, H100, 1, "latency", (1, 1), True),
        (SMALL, H100, 8, "latency", (4, 2), True),
        (MIDDLE, RTX4090, 1, None, (1, 1), True),
        (MIDDLE, RTX4090, 8, "throughput", (1, 1), True),
        (MIDDLE, H100, 8, "latency", (4, 2), True),
        (LARGE, H100, 1, None, (1, 1), True),
        (LARGE, H100, 8, None, (1, 1), True),
        (LARGE, H100, 8, "latency", (4, 2), True),
        (LARGE, RTX4090, 1, None, (1, 1), False),
        (TWO, H100, 1, None, (1, 1), True),
        (TWO, H100, 8, "latency", (4, 2), True),
        (TWO, RTX4090, 8, None, (1, 1), False),
    ],
)
def test_choices(
    model: str, device: str, num_devices: int, goal: str | None, plan: tuple[int, int], fits: bool
) -> None:
    found = chosen(model, device, num_devices, goal=goal)
    assert (found.parallel.ulysses_degree, found.parallel.cfg_degree) == plan
    assert (found.fits, found.parallel.num_hosts) == (fits, 1)
    assert found.reasons


def test_the_published_times_are_reproduced() -> None:
    eight = ParallelPlan(ulysses_degree=8)
    assert 1838 / speed_up(eight, "nvidia-h100-80gb-hbm3") == pytest.approx(288)
    assert 261 / speed_up(eight, RTX4090) == pytest.approx(112)
    assert pytest.approx(0.036, abs=1e-3) == WHOLE_FAST
    assert pytest.approx(0.348, abs=1e-3) == WHOLE_SLOW
    assert speed_up(ParallelPlan(), H100) == 1
    # The guidance axis exchanges once a step, so of equal degrees it is the faster one.
    assert speed_up(ParallelPlan(cfg_degree=2), RTX4090) > speed_up(ParallelPlan(ulysses_degree=2), RTX4090)


def test_activations_that_do_not_fit_are_shared() -> None:
    # The card holds 14B's weights, and beside them a quarter of what ten seconds of a large frame take.
    long = demand("wan3.0-14b", width=1920, height=1080, num_frames=161)
    found = choose([long], hardware("nvidia-l40s", 8), Wanted())
    assert found.fits
    assert (found.parallel.ulysses_degree, found.parallel.cfg_degree) == (4, 1)
    assert "smallest degree that fits" in found.reasons[-1]


def test_few_clips_get_the_devices_that_would_stand_idle() -> None:
    eight = hardware(H100, 8)
    assert choose([demand(LARGE, num_clips=1)], eight, Wanted()).parallel.degree == 8
    assert choose([demand(LARGE, num_clips=2)], eight, Wanted()).parallel.degree == 4
    assert choose([demand(LARGE, num_clips=5)], eight, Wanted()).parallel.degree == 1
    asked = choose([demand(LARGE, num_clips=1)], eight, Wanted(goal="throughput"))
    assert asked.parallel.degree == 1
    assert "fewer clips than devices" in choose([demand(LARGE, num_clips=1)], eight, Wanted()).reasons[-1]


def test_cores_are_left_to_threads_unless_ranks_are_asked_for() -> None:
    cores = hardware("cpu", 16)
    assert choose([demand("nano")], cores, Wanted(goal="latency")).parallel.degree == 1
    assert choose([demand("nano")], cores, Wanted(ulysses_degree=4, cfg_degree=2)).parallel.degree == 8


def test_nothing_left_to_render_has_a_plan_too() -> None:
    assert choose([], hardware(H100, 8), Wanted()).parallel.degree == 1
    assert choose([], hardware(H100, 8), Wanted(ulysses_degree=4)).parallel.degree == 4


def test_a_gang_spans_hosts_where_it_has_to_or_was_told_to() -> None:
    cluster = hardware(H100, 16, per_node=4)
    assert choose([demand(LARGE)], cluster, Wanted(goal="latency")).parallel.num_hosts == 1
    wide = choose([demand(LARGE)], cluster, Wanted(ulysses_degree=8)).parallel
    assert (wide.num_hosts, wide.ranks_per_host) == (2, 4)
    told = choose([demand(LARGE)], cluster, Wanted(ulysses_degree=4, num_hosts=2)).parallel
    assert (told.degree, told.ranks_per_host) == (4, 2)


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        (Wanted(ulysses_degree=8), r"--ulysses-degree 8 .*1.3b has 12 heads.* it can be 1, 2, 3, 4, 6$"),
        (Wanted(ulysses_degree=12), "it can be 1, 2, 3, 4, 6$"),
        (Wanted(ulysses_degree=6, cfg_degree=2), "not possible together.*8 x nvidia-h100"),
        (Wanted(num_hosts=2), "--hosts-per-gang 2 .*it can be 1$"),
        (Wanted(cfg_degree=3), "--cfg-degree 3 .*it can be 1, 2$"),
        (Wanted(goal="fame"), "throughput, latency"),  # type: ignore[arg-type]
    ],
)
def test_what_cannot_be_names_what_can(wanted: Wanted, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        choose([demand(SMALL)], hardware(H100, 8), wanted)


def test_unguided_clips_have_no_second_pass() -> None:
    plain = demand(SMALL, guidance_scale=1)
    with pytest.raises(UsageError, match="no clip is guided"):
        choose([plain], hardware(H100, 8), Wanted(cfg_degree=2))
    assert choose([plain], hardware(H100, 8), Wanted(goal="latency")).parallel.cfg_degree == 1


def test_a_run_of_two_models_takes_what_suits_both() -> None:
    both = [demand(SMALL), demand(LARGE)]
    with pytest.raises(UsageError, match=r"1.3b has 12 heads, wan2.1-t2v-14b has 40 heads.* it can be 1, 2, 4$"):
        choose(both, hardware(H100, 8), Wanted(ulysses_degree=5))


def test_reasons_are_sentences_with_figures() -> None:
    (fit, share, why) = chosen(LARGE, H100, 8, goal="latency").reasons
    assert "of 80.0 GiB" in fit
    assert "8 devices render a clip together (ulysses=4 cfg=2)" in share
    assert "largest at which twice the devices take a fifth off" in why
    (too_large, *_) = chosen(LARGE, RTX4090, 8).reasons
    assert "no degree changes that" in too_large
    (unknown, *_) = chosen(LARGE, "abacus", 8).reasons
    assert "not known" in unknown


def test_a_decode_that_does_not_fit_is_cut_into_tiles() -> None:
    hungry = Demand(model="m", num_heads=1, need=Need(weights=10 * GIB, decode=20 * GIB), num_clips=9, num_guided=0)
    found = choose([hungry], hardware("nvidia-geforce-rtx-4090", 1), Wanted())
    assert found.tiles == 2
    assert found.fits
    assert "decoded in 2 pieces" in " ".join(found.reasons)


@pytest.mark.parametrize(
    ("device", "num_devices", "goal", "pools", "plan", "fits"),
    [
        (H100, 8, None, False, (1, 1), True),  # 80 GB hold both experts
        (L40S, 8, None, True, (1, 1), True),  # 48 GB hold one
        (L40S, 2, None, True, (1, 1), True),
        (L40S, 2, "latency", True, (1, 1), True),  # each pool takes a gang
        (L40S, 8, "latency", True, (2, 2), True),
        ("nvidia-a100", 8, None, True, (2, 1), True),  # 40 GB hold one, and half of a clip's activations
        (RTX4090, 8, None, False, (1, 1), False),  # 24 GB hold none
        ("abacus", 8, None, False, (1, 1), True),
    ],
)
def test_experts_that_do_not_fit_together_are_pooled(
    device: str, num_devices: int, goal: str | None, pools: bool, plan: tuple[int, int], fits: bool
) -> None:
    found = chosen(TWO, device, num_devices, goal=goal)
    assert (found.has_pools, found.fits) == (pools, fits)
    assert (found.parallel.ulysses_degree, found.parallel.cfg_degree) == plan
    assert ("gangs of its own" in found.reasons[0]) == pools


def test_pools_are_had_when_asked_for() -> None:
    assert chosen(TWO, H100, 8, expert_pools="on").has_pools
    tried = chosen(TWO, L40S, 8, expert_pools="off")
    assert (tried.has_pools, tried.fits) == (False, False)
    assert not chosen(LARGE, L40S, 8).has_pools
    assert choose([demand(TWO)], hardware("cpu", 2), Wanted(expert_pools="on")).has_pools


@pytest.mark.parametrize(
    ("model", "device", "num_devices", "wanted", "says"),
    [
        (TWO, L40S, 1, {}, "two experts, and one nvidia-l40s does not hold both .* two such devices can take one each"),
        (TWO, H100, 1, {"expert_pools": "on"}, "two devices or more"),
        (TWO, L40S, 8, {"ulysses_degree": 8}, "shared by two expert pools.* it can be 1, 2, 4$"),
        (LARGE, L40S, 8, {"expert_pools": "on"}, "wan2.1-t2v-14b has one expert"),
        (TWO, L40S, 8, {"expert_pools": "three"}, "--expert-pools is one of auto, on, off"),
    ],
)
def test_pools_that_cannot_be(model: str, device: str, num_devices: int, wanted: dict[str, object], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        chosen(model, device, num_devices, **wanted)


def test_a_rank_of_a_pool_holds_one_expert() -> None:
    whole = demand(TWO).need
    one = whole.held(has_pools=True)
    assert one.weights == pytest.approx(demand(LARGE).need.weights)
    assert one.weights < 0.6 * whole.weights
    assert whole.held(has_pools=False) == whole
