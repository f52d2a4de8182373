"""How much sooner a clip is done when several devices share it, from published times of the official code.

    14B 720P,  H100: 1838 s on 1, 288 s on 8      1.3B 480P, RTX 4090: 261 s on 1, 112 s on 8

Each gives the share of the time that eight Ulysses ranks did not divide: 0.036 where devices have fast links, 0.35
over PCI Express. Both are of one model and one device each, so what is said of other pairs is a guess by their links.
"""

from __future__ import annotations

from farm.parallelism import ParallelPlan

FAST_LINKS = ("nvidia-a100", "nvidia-h100", "nvidia-h200", "nvidia-b200")
# Share of a clip's time that eight ranks leave whole, from the times above: (8 / speed-up - 1) / 7.
WHOLE_FAST = (8 / (1838 / 288) - 1) / 7
WHOLE_SLOW = (8 / (261 / 112) - 1) / 7
# What is not denoising (2-4 % of a clip of 40 to 50 steps) has no second pass to run beside.
UNGUIDED = 0.03


def speed_up(parallel: ParallelPlan, device: str) -> float:
    """How much sooner a guided clip is done than on one device of that kind."""
    whole = WHOLE_FAST if has_fast_links(device) else WHOLE_SLOW
    ulysses, cfg = parallel.ulysses_degree, parallel.cfg_degree
    return 1 / ((1 - whole) / ulysses + whole) / ((1 - UNGUIDED) / cfg + UNGUIDED)


def has_fast_links(device: str) -> bool:
    """Whether devices of that kind usually speak to each other past PCI Express."""
    return any(device == kind or device.startswith(kind + "-") for kind in FAST_LINKS)
