"""Who asks: the project that a request belongs to, and what it may do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from deployments.errors import ForbiddenError

Scope = Literal["submit", "read", "admin"]
SCOPES: tuple[Scope, ...] = ("submit", "read", "admin")


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnLimits:
    """A key's own limits; None: as the settings have it for everybody."""

    max_open_jobs: int | None = None
    max_queued_device_seconds: float | None = None
    requests_per_minute: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Who a request comes from.

    Args:
        name: for people.
        key_id: None where no keys are asked for.
        weight: its share of the devices, see `farm.keys.KeyLimits`.
    """

    project: str
    name: str
    scopes: frozenset[Scope]
    key_id: str | None = None
    limits: OwnLimits = OwnLimits()
    weight: float = 1.0

    def require(self, scope: Scope) -> None:
        """ForbiddenError where that is not this key's to do. An admin may do all."""
        if scope not in self.scopes and "admin" not in self.scopes:
            raise ForbiddenError(
                f"this key may not {scope}" if scope != "admin" else "this is for admin keys only",
                code="missing_scope",
                advice=f"use a key with the scope {scope}",
            )


# Where no keys are asked for.
EVERYBODY = Principal(project="default", name="everybody", scopes=frozenset(SCOPES))
