"""The embedded model through the command: examples of `make render`, and clips that show what their prompts say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from e2e_farm import Farm

from farm.media import read_frames
from wan_model.nano.captions import mentioned
from wan_model.nano.judge import judge

EXAMPLES = Path(__file__).parents[2] / "examples"
ROWS = (0, 1, 2, 3, 20, 21)  # the last two start from a picture


@pytest.mark.timeout(300)
def test_examples_show_what_their_prompts_say(tmp_path: Path) -> None:
    farm = Farm(tmp_path, model="nano", environment={})
    (tmp_path / "images").symlink_to(EXAMPLES / "images")
    farm.manifest = tmp_path / "prompts.parquet"
    table = pq.read_table(EXAMPLES / "prompts.parquet")
    assert table.num_rows == 24
    pq.write_table(table.take(list(ROWS)), farm.manifest)
    code, said = farm.render()
    assert code == 0, said
    num_asked, num_shown = 0, 0
    for line in farm.results():
        reading = judge(np.stack(list(read_frames(Path(line["uri"])))))
        asked = mentioned(line["prompt"])
        assert asked, line["prompt"]
        num_asked += len(asked)
        num_shown += sum(getattr(reading, field) == name for field, name in asked.items())
    # The model gets some 97 of 100 attributes right; these few clips may miss one or two.
    assert num_shown >= num_asked - 2, f"{num_shown} of {num_asked}"
