"""Loading peaks near the size of what is loaded, whatever is stored and whatever is asked for."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from sparse_tensors import write_sparse

from wan_model.config import DiTConfig
from wan_model.dit.model import WanDiT

BIG = DiTConfig(dim=1024, ffn_dim=4096, num_heads=8, num_layers=4, in_channels=16, out_channels=16, text_dim=1024)
MEASURE = """
import json, sys
import torch
import wan_model.pipeline
from wan_model import load
from wan_model.config import DiTConfig
from wan_model.dit.model import WanDiT

def resident(kind):  # VmHWM, the peak of this process alone; ru_maxrss would start at the parent's
    lines = dict(line.split(":", 1) for line in open("/proc/self/status"))
    return int(lines[kind].split()[0]) * 1024

torch.set_num_threads(1)
with torch.device("meta"):  # torch imports 80 MB of its own on the first use of the meta device
    WanDiT(DiTConfig(dim=8, ffn_dim=8, num_heads=1, num_layers=1, in_channels=1, out_channels=1, text_dim=8))
before = resident("VmRSS")
dit = load(sys.argv[1], components=("dit",), dtype=sys.argv[2]).dit
touched = sum(float(p.view(-1)[::512].float().sum()) for p in dit.parameters())
print(json.dumps({"growth": resident("VmHWM") - before, "size": sum(p.nbytes for p in dit.parameters())}))
"""


def shapes() -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        return {name: tuple(tensor.shape) for name, tensor in WanDiT(BIG).state_dict().items()}


def measure(path: Path, dtype: str) -> tuple[int, int]:
    done = subprocess.run([sys.executable, "-c", MEASURE, path, dtype], check=True, capture_output=True, text=True)
    told = json.loads(done.stdout)
    return told["growth"], told["size"]


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads resident memory from /proc")
@pytest.mark.parametrize(("stored", "dtype"), [("F32", "float32"), ("F32", "bfloat16"), ("F16", "float32")])
def test_safetensors(tmp_path: Path, stored: str, dtype: str) -> None:
    path = write_sparse(tmp_path / "big.safetensors", shapes(), dtype=stored)
    growth, size = measure(path, dtype)
    assert size > 140e6
    assert 0.9 * size < growth <= 1.35 * size


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads resident memory from /proc")
def test_pth(tmp_path: Path) -> None:
    torch.save({name: torch.zeros(shape) for name, shape in shapes().items()}, tmp_path / "big.pth")
    growth, size = measure(tmp_path / "big.pth", "bfloat16")
    assert 0.9 * size < growth <= 1.35 * size
