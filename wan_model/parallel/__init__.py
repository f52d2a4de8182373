"""Sequence parallelism as a value handed to the model: the model's code is that of one device."""

from wan_model.parallel.seam import SINGLE, SequenceParallel, SingleDevice

__all__ = ["SINGLE", "SequenceParallel", "SingleDevice"]
