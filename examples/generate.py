"""One clip with the Python API, from text or from a first frame:

python examples/generate.py "a red circle moving right on a black background" [--image first.png] [--model PATH]
"""

import argparse
from pathlib import Path

from PIL import Image

import wan_model
from farm.media import VideoWriter

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("prompt")
parser.add_argument("--model", default="nano", help="nano, a diffusers folder, or an official checkpoint")
parser.add_argument("--image", type=Path, help="the clip's first frame")
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--out", type=Path, default=Path("clip.mp4"))
arguments = parser.parse_args()

pipeline = wan_model.load(arguments.model)
image = Image.open(arguments.image) if arguments.image else None
clip = pipeline(arguments.prompt, image=image, seed=arguments.seed)

_, height, width, _ = clip.frames.shape
metadata = {"title": arguments.prompt, "comment": "AI-generated"}
with VideoWriter(arguments.out, width=width, height=height, fps=clip.fps, metadata=metadata) as video:
    video.write(clip.frames)
    video.close()
print(f"{arguments.out}: {len(clip.frames)} frames of {width}x{height} at {clip.fps} fps, seed {clip.params.seed}")
