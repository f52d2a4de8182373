"""How long things are kept."""

from __future__ import annotations

from pydantic import BaseModel

from deployments.config.models import FROZEN, Seconds
from farm.queue.expiry import Retention

DAY_S = 24 * 3600.0


class RetentionConfig(BaseModel):
    """How long jobs stay after their end, unless pinned or asked for otherwise.

    Args:
        ttl_days: of a completed job and, where nobody else holds it, its clip; none keeps them for ever.
        failed_ttl_days: of a failed or cancelled one.
        sweep_every_s: how often is looked for what has run out.
    """

    model_config = FROZEN

    ttl_days: Seconds | None = None
    failed_ttl_days: Seconds | None = 30.0
    sweep_every_s: Seconds = 600.0

    @property
    def rules(self) -> Retention:
        """As `JobStore` takes them."""
        return Retention(completed_s=_seconds(self.ttl_days), failed_s=_seconds(self.failed_ttl_days))


def _seconds(days: float | None) -> float | None:
    return None if days is None else days * DAY_S
