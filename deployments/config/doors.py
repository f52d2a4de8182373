"""What the application lets in: who may ask, how much, from where inputs may come, and how long things are kept."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field, StringConstraints

from deployments.config.models import FROZEN, Count, Seconds

Host = Annotated[str, StringConstraints(min_length=1, max_length=253, to_lower=True)]
Scheme = Literal["https", "http", "s3", "data"]


class AuthConfig(BaseModel):
    """Who may ask.

    Args:
        mode: "keys" asks for an API key (`wanfarm keys`), "none" lets everybody in as "default", with all scopes.
        session_hours: how long the console stays signed in.
        secure_cookie: whether browsers may send the console's cookie over HTTPS alone; set it wherever there is HTTPS.
        origins: origins besides its own from which the console's requests are taken, as behind a proxy that renames.
    """

    model_config = FROZEN

    mode: Literal["keys", "none"] = "keys"
    session_hours: Seconds = 24.0
    secure_cookie: bool = False
    origins: tuple[str, ...] = ()


class LimitsConfig(BaseModel):
    """How much is taken on. A key may have narrower limits of its own.

    Args:
        max_queue_device_seconds: estimated work in the queue, over all keys; beyond it submissions are answered 429.
        max_open_jobs_per_key: jobs of one key that are queued or in work.
        submits_per_minute_per_key: submissions of one key; short bursts of as many are let through.
        max_body_bytes: of a request, uploads included.
        max_prompt_bytes: of a prompt, as in manifests.
    """

    model_config = FROZEN

    max_queue_device_seconds: Seconds = 7 * 24 * 3600.0
    max_open_jobs_per_key: Count = 10_000
    submits_per_minute_per_key: Count = 12_000
    max_body_bytes: Count = 80 * 2**20
    max_prompt_bytes: Count = 8 * 2**10


class InputRules(BaseModel):
    """Which images and videos are taken, and from where.

    Args:
        schemes: of URIs that the server fetches; "data" is content in the URI itself.
        hosts: the only hosts (and S3 buckets) that are asked; empty is all public ones.
        allow_private_addresses: whether hosts of private, loopback and link-local addresses are asked.
        max_bytes: of a file.
        max_pixels: of a picture, or of one frame.
        max_video_seconds: of a video.
        timeout_s: to fetch one.
        max_redirects: that are followed, each checked as the first address is.
    """

    model_config = FROZEN

    schemes: tuple[Scheme, ...] = ("https", "data")
    hosts: tuple[Host, ...] = ()
    allow_private_addresses: bool = False
    max_bytes: Count = 64 * 2**20
    max_pixels: Count = 50_000_000
    max_video_seconds: Seconds = 60.0
    timeout_s: Seconds = 30.0
    max_redirects: int = Field(default=3, ge=0, strict=True)


class RetentionConfig(BaseModel):
    """How long jobs stay after their end, unless pinned.

    Args:
        ttl_days: of a completed job and, where nobody else holds it, its clip; none keeps them for ever.
        failed_ttl_days: of a failed or cancelled one.
        sweep_every_s: how often is looked for what has run out.
    """

    model_config = FROZEN

    ttl_days: Seconds | None = None
    failed_ttl_days: Seconds | None = 30.0
    sweep_every_s: Seconds = 600.0
