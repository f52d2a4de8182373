"""Writes examples/prompts.parquet, the manifest that `make render` renders: 24 clips of the nano model's world.

The last four start from a picture in examples/images/. Run it again after changing the lists below:

    python examples/make_prompts.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from wan_model.nano.world import Attributes, is_held_out, render, sample_scene

HERE = Path(__file__).parent

# colour, shape, motion, background, and the words to say it in
FROM_TEXT = (
    ("red", "circle", "right", "black", "a red circle moving right on a black background"),
    ("blue", "square", "left", "gray", "a blue square moving left on a gray background"),
    ("green", "triangle", "up", "navy", "a green triangle rising on a navy background"),
    ("yellow", "cross", "down", "brown", "a yellow cross falling on a brown background"),
    ("white", "circle", "still", "navy", "a white circle standing still on a navy background"),
    ("orange", "square", "right", "black", "on a black background, an orange square moving right"),
    ("purple", "triangle", "left", "gray", "a purple triangle drifting to the left on a gray background"),
    ("cyan", "cross", "up", "black", "a cyan cross moving up on a black background"),
    ("red", "square", "down", "navy", "a red square going down on a navy background"),
    ("blue", "circle", "up", "brown", "a blue circle rising against a brown background"),
    ("green", "cross", "right", "gray", "a green cross sliding right on a gray background"),
    ("yellow", "triangle", "left", "black", "a yellow triangle moving to the left on a black background"),
    ("white", "square", "up", "brown", "a video of a white square moving upwards on a brown background"),
    ("orange", "circle", "down", "gray", "an orange circle falling in front of a gray background"),
    ("purple", "cross", "still", "black", "a purple cross that does not move on a black background"),
    ("cyan", "triangle", "right", "navy", "a cyan triangle moving from left to right on a navy background"),
    ("red", "triangle", "still", "brown", "a red triangle, resting, on a brown background"),
    ("blue", "cross", "down", "black", "a blue cross moving down over a black background"),
    ("green", "circle", "left", "brown", "a green circle moving left on a brown background"),
    ("yellow", "square", "right", "navy", "a yellow square going right on a navy background"),
)
FROM_IMAGE = (
    ("orange", "triangle", "right", "navy", "an orange triangle moving right on a navy background"),
    ("white", "cross", "left", "black", "a white cross moving left on a black background"),
    ("cyan", "circle", "down", "brown", "a cyan circle falling on a brown background"),
    ("purple", "square", "up", "gray", "a purple square moving up on a gray background"),
)

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("prompt", pa.string()),
        ("image", pa.string()),
        ("tags", pa.map_(pa.string(), pa.string())),
    ]
)


def main() -> None:
    write_images(HERE / "images")
    pq.write_table(manifest(), HERE / "prompts.parquet")


def manifest() -> pa.Table:
    """One row a clip; everything else is the nano card's default, and seeds follow from the rows."""
    rows = [*(row(*words) for words in FROM_TEXT), *(row(*words, has_image=True) for words in FROM_IMAGE)]
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def row(
    colour: str, shape: str, motion: str, background: str, prompt: str, *, has_image: bool = False
) -> dict[str, object]:
    attributes = Attributes(colour=colour, shape=shape, motion=motion, background=background)
    tags = {
        "from": "image" if has_image else "text",
        "combination": "never trained on" if is_held_out(attributes) else "trained on",
    }
    return {
        "id": f"{colour}-{shape}-{motion}-{background}",
        "prompt": prompt,
        "image": f"images/{colour}-{shape}.png" if has_image else None,
        "tags": list(tags.items()),
    }


def write_images(folder: Path) -> None:
    """The first frame of a clip of each combination, drawn by the nano world itself."""
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(7)
    for colour, shape, motion, background, _ in FROM_IMAGE:
        attributes = Attributes(colour=colour, shape=shape, motion=motion, background=background)
        frame = render([sample_scene(rng, attributes)], num_frames=1)[0, 0]
        Image.fromarray(frame).save(folder / f"{colour}-{shape}.png", optimize=True)


if __name__ == "__main__":
    main()
