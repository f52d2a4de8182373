"""Parallelism as a value handed to the model: the model's code is that of one device.

`join` makes the value from a group of processes; `SINGLE` is that of a process alone.
"""

from wan_model.parallel.group import Group, Ulysses, join, parallel_faults
from wan_model.parallel.seam import SINGLE, WHOLE_SEQUENCE, GuidanceParallel, Parallel, RowParallel, SequenceParallel

__all__ = [
    "SINGLE",
    "WHOLE_SEQUENCE",
    "Group",
    "GuidanceParallel",
    "Parallel",
    "RowParallel",
    "SequenceParallel",
    "Ulysses",
    "join",
    "parallel_faults",
]
