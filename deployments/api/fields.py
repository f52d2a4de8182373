"""The fields of a request, by how a form's text is read, and the bounds that manifests don't have."""

from __future__ import annotations

from farm.request import FIELDS as ROW_FIELDS

# A manifest's row names itself; a job's name is ours to give.
FIELDS: tuple[str, ...] = (
    *(name for name in ROW_FIELDS if name != "id"),
    *("seconds", "size", "input_reference", "ttl", "is_pinned"),
)

WHOLES = frozenset({"seed", "width", "height", "num_frames", "fps", "num_inference_steps", "priority", "ttl"})
NUMBERS = frozenset({"guidance_scale", "guidance_high", "guidance_low", "shift", "strength", "seconds"})
STRUCTURES = frozenset({"tags", "adapters", "input_reference"})
# Of these, an empty text says something.
TEXTS = frozenset({"prompt", "negative_prompt"})
# Both name the first frame: OpenAI's name, and the manifest's.
PICTURES = ("input_reference", "image")

# What stands for the address of a picture whose bytes came with the request.
UPLOAD = "upload"

MAX_TAGS, MAX_TAG_CHARS = 32, 256
MIN_TTL_S, MAX_TTL_S = 60, 10 * 365 * 24 * 3600
