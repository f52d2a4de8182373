"""Kubernetes' quantities as numbers: "500m" is 0.5, "2Gi" is 2147483648."""

from __future__ import annotations

import re

_SCALES = {
    "": 1.0,
    "m": 1e-3,
    "k": 1e3,
    "M": 1e6,
    "G": 1e9,
    "T": 1e12,
    "Ki": 2.0**10,
    "Mi": 2.0**20,
    "Gi": 2.0**30,
    "Ti": 2.0**40,
}


def quantity(text: object) -> float:
    """ValueError for what is none."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(m|k|M|G|T|Ki|Mi|Gi|Ti|)", str(text))
    if found is None:
        raise ValueError(f"not a quantity: {text!r}")
    return float(found[1]) * _SCALES[found[2]]
