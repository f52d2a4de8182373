"""Converted weights are written once a host, mapped by its processes, and private to none."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from sparse_tensors import write_sparse
from torch import nn

import wan_model
from wan_model.config import DiTConfig
from wan_model.dit.model import WanDiT
from wan_model.weights.share import converted_once
from wan_model.weights.tensor_files import list_tensors, read_tensors

BIG = DiTConfig(dim=1024, ffn_dim=4096, num_heads=8, num_layers=2, in_channels=16, out_channels=16, text_dim=1024)
LOAD = """
import ctypes, json, sys
from pathlib import Path
import torch
import wan_model.opening
from wan_model import load
from wan_model.config import DiTConfig
from wan_model.dit.model import WanDiT

def private():  # bytes that no other process shares
    lines = [line.split() for line in open("/proc/self/smaps_rollup")]
    return sum(int(line[1]) * 1024 for line in lines if line[0].startswith("Private_"))

with torch.device("meta"):  # torch imports 80 MB of its own on the first use of the meta device
    WanDiT(DiTConfig(dim=8, ffn_dim=8, num_heads=1, num_layers=1, in_channels=1, out_channels=1, text_dim=8))
before = private()
dit = load(sys.argv[1], components=("dit",), dtype="float32", threads=1, shared_folder=Path(sys.argv[2])).dit
touched = sum(float(p.view(-1)[::512].sum()) for p in dit.parameters())
print("loaded", flush=True)
sys.stdin.readline()  # both processes have touched all pages
ctypes.CDLL(None).malloc_trim(0)  # what the process that converted has freed since, and the allocator holds back
growth = private() - before
print(json.dumps({"growth": growth, "size": sum(p.nbytes for p in dit.parameters())}), flush=True)
sys.stdin.readline()  # and both are still there: what one alone maps would be private
"""


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="reads private memory from /proc")
def test_two_processes_hold_one_copy(tmp_path: Path) -> None:
    with torch.device("meta"):
        shapes = {name: tuple(tensor.shape) for name, tensor in WanDiT(BIG).state_dict().items()}
    path = write_sparse(tmp_path / "big.safetensors", shapes, dtype="F16")
    command = [sys.executable, "-c", LOAD, str(path), str(tmp_path / "shared")]
    with ExitStack() as stack:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "bufsize": 1}
        ranks = [stack.enter_context(subprocess.Popen(command, **pipes)) for _ in range(2)]
        assert answers(ranks) == ["loaded\n"] * 2
        told = [json.loads(line) for line in answers(ranks, "\n")]
        answers(ranks, "\n")
    assert all(rank["size"] > 100e6 for rank in told)
    assert all(rank["growth"] < 0.1 * rank["size"] for rank in told)
    assert len(list((tmp_path / "shared").glob("*.safetensors"))) == 1


def answers(ranks: list[subprocess.Popen[str]], question: str = "") -> list[str]:
    for rank in ranks:
        rank.stdin.write(question)
    return [rank.stdout.readline() for rank in ranks]


def test_nano_is_the_same_from_a_shared_file(tmp_path: Path) -> None:
    private = wan_model.load("nano")
    for _ in range(2):  # written, then found
        shared = wan_model.load("nano", shared_folder=tmp_path)
        for name in ("dit", "vae"):
            assert_equal(getattr(private, name), getattr(shared, name))
        assert_equal(private.text.model, shared.text.model)
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".lock"] * 3 + [".safetensors"] * 3


def assert_equal(one: nn.Module, other: nn.Module) -> None:
    ours, theirs = one.state_dict(), other.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) and ours[name].dtype == theirs[name].dtype for name in ours)


def test_what_is_stored_as_wanted_is_not_written_again(tmp_path: Path) -> None:
    config = DiTConfig(dim=16, ffn_dim=8, num_heads=1, num_layers=1, in_channels=16, out_channels=16, text_dim=8)
    dit = WanDiT(config)
    save_file({name: tensor.contiguous() for name, tensor in dit.state_dict().items()}, tmp_path / "dit.safetensors")
    for dtype, num_files in (("float32", 0), ("bfloat16", 1)):
        folder = tmp_path / dtype
        loaded = wan_model.load(tmp_path / "dit.safetensors", components=("dit",), dtype=dtype, shared_folder=folder)
        assert len(list(folder.glob("*.safetensors"))) == num_files
        assert loaded.dit is not None
        assert loaded.dit.head.head.weight.dtype == getattr(torch, dtype)
    (written,) = folder.glob("*.safetensors")
    assert "head.head.weight" in list_tensors([written])
    assert "head.modulation" not in list_tensors([written])  # float32 in a bfloat16 model too


def test_a_pth_is_written_whole(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(2, 3), "b": torch.ones(3, dtype=torch.float16)}, tmp_path / "w.pth")
    dtypes = {"a": torch.float32, "b": torch.float32}
    written = converted_once(list_tensors([tmp_path / "w.pth"]), dtypes, tmp_path / "shared")
    assert {name: entry.dtype for name, entry in written.items()} == {"a": "float32", "b": "float32"}
    assert all(bool((tensor == 1).all()) for _, tensor in read_tensors(written.values()))


def test_other_weights_or_another_dtype_make_another_file(tmp_path: Path) -> None:
    path, shared = tmp_path / "w.safetensors", tmp_path / "shared"
    for dtype in (torch.float32, torch.bfloat16, torch.float32):
        write_sparse(path, {"a": (2, 3)}, dtype="F16")
        os.utime(path, ns=(1, 1))
        converted_once(list_tensors([path]), {"a": dtype}, shared)
    assert len(list(shared.glob("*.safetensors"))) == 2
    os.utime(path, ns=(2, 2))
    converted_once(list_tensors([path]), {"a": torch.float32}, shared)
    assert len(list(shared.glob("*.safetensors"))) == 3


def test_what_could_not_be_written_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, shared = write_sparse(tmp_path / "w.safetensors", {"a": (2, 3)}, dtype="F16"), tmp_path / "shared"
    tensors = list_tensors([path])

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("wan_model.weights.share.os.fsync", full)
        with pytest.raises(OSError, match="No space"):
            converted_once(tensors, {"a": torch.float32}, shared)
    assert [found.suffix for found in shared.iterdir()] == [".lock"]
    (entry, tensor), *_ = read_tensors(converted_once(tensors, {"a": torch.float32}, shared).values())
    assert (entry.shape, tensor.dtype) == ((2, 3), torch.float32)
