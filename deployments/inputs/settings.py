"""Settings of inputs: where they may come from and how large they may be."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Scheme = Literal["https", "http", "data", "s3"]


class InputSettings(BaseModel):
    """What is fetched for strangers.

    Args:
        schemes: of URIs; "data" is content in the URI itself, "s3" reads with this service's own credentials.
        hosts: the only hosts that are asked; empty is all public ones.
        s3_buckets: whose objects may be inputs; none unless named.
        is_private_allowed: also fetch from private, loopback and other addresses that the internet cannot reach.
        ports: on which servers are asked; empty: any.
        max_redirects: that are followed, each checked as the first address is.
        max_bytes, max_pixels: of one picture.
        timeout_s: for all of one fetch, redirects included.
        decode_bytes, decode_cpu_s: memory beyond the decoder's own, and processor time, for decoding one picture.
        num_decoders: pictures that are decoded at once.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    schemes: tuple[Scheme, ...] = ("https", "http", "data")
    hosts: tuple[str, ...] = ()
    s3_buckets: tuple[str, ...] = ()
    is_private_allowed: bool = False
    ports: tuple[int, ...] = (80, 443)
    max_redirects: int = Field(default=3, ge=0)
    max_bytes: int = Field(default=16 * 2**20, gt=0)
    max_pixels: int = Field(default=25_000_000, gt=0)
    timeout_s: float = Field(default=20.0, gt=0)
    decode_bytes: int = Field(default=768 * 2**20, gt=0)
    decode_cpu_s: int = Field(default=10, gt=0)
    num_decoders: int = Field(default=2, gt=0)
