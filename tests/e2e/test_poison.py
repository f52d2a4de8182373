"""Five clips that break what renders them, each in its way, among twenty good ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from e2e_farm import SMALL, Farm

pytestmark = pytest.mark.slow

NUM_GOOD = 20
# Fake ranks do not wait for each other: a slow rank 0 stands for one that waits for the dead one.
# Prompt, class, attempts: what kills or hangs a rank is tried three times, NaN and memory once more in the tame way.
POISON = {
    "killer": ("fake:die-rank=1 fake:slow=3", "RankLostError", 3),
    "hanging": ("fake:hang", "HangError", 3),
    "nan": ("fake:nan", "NotFiniteError", 2),
    "memory": ("fake:oom", "MemoryExhaustedError", 2),
    "text": ("fake:text", "TextError", 1),
}


@pytest.mark.timeout(500)
def test_poison_among_good_clips(farm: Farm) -> None:
    farm.environment["WANFARM_HANG_FLOOR_S"] = "4"
    rows = [{"id": f"good{n}", "prompt": f"a red circle {n}", **SMALL} for n in range(NUM_GOOD)]
    for place, (name, (prompt, _, _)) in enumerate(POISON.items()):
        rows.insert(5 * place + 2, {"id": name, "prompt": prompt, **SMALL})
    farm.write(rows)
    code, said = farm.render("--ulysses-degree", "2", timeout_s=400)
    assert code == 1, said
    lines = {line["id"]: line for line in farm.results()}
    assert {name for name, line in lines.items() if line["status"] == "committed"} == {
        f"good{n}" for n in range(NUM_GOOD)
    }
    for name, (_, error_class, attempts) in POISON.items():
        line = lines[name]
        assert (line["status"], line["error_class"], line["attempts"]) == ("failed", error_class, attempts), name
        letter = json.loads((Path(farm.out) / "failed" / f"{line['clip_id']}.json").read_text())
        assert letter["error_class"] == error_class
        code, said = farm.run(*letter["command"].split()[1:])
        assert code == 1, said
        assert f"failed: {error_class}" in said
    hang = json.loads((Path(farm.out) / "failed" / f"{lines['hanging']['clip_id']}.json").read_text())
    assert "rank" in hang["message"]
    assert "Thread" in hang["traceback"] + hang["message"]  # where the ranks stood
