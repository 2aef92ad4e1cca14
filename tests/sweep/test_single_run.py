"""A single run through the real command: its folder, its seeds, its failures."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from helpers.command import SMALL, Command, times


@pytest.mark.slow
def test_a_run_is_kept_under_its_key_and_trains_only_what_is_missing(
    command: Command, tmp_path: Path
) -> None:
    code, out, _ = command("train", *SMALL, "seeds=2")
    assert code == 0
    assert "2 of 2 members are done, 0 of them" in out
    [folder] = (tmp_path / "runs/runs").iterdir()
    assert f"results: runs/runs/{folder.name}" in out
    *_, heads, row, last = out.splitlines()
    assert heads.split()[:3] == ["on", "val", "n"]
    r68 = [
        json.loads((folder / f"seed_{seed}/result.json").read_text())["metrics"]["val_qoverpt_r68"]
        for seed in (0, 1)
    ]
    low, high = stats.t.interval(0.95, 1, np.mean(r68), stats.sem(r68))
    assert row.split()[:2] == ["conservative", "2"]
    shown = [float(word) for word in re.findall(r"[\d.]+ ± [\d.]+", row)[0].split(" ± ")]
    assert shown == pytest.approx([np.mean(r68), (high - low) / 2], rel=0.1)
    assert last == f"report: headsweep report {folder.name}"
    assert json.loads((folder / "job.json").read_text())["job_key"] == folder.name
    before = times(folder)
    code, out, _ = command("train", *SMALL, "seeds=2", "workers=2")
    assert code == 0
    assert "2 of 2 members are done, 2 of them" in out
    assert times(folder) == before
    assert "3 of 3 members are done, 2 of them" in command("train", *SMALL, "seeds=3")[1]
    assert {path: at for path, at in times(folder).items() if path in before} == before


def test_a_member_that_fails_is_named(command: Command) -> None:
    code, out, err = command("train", *SMALL, "optim.lr=1e38", "optim.steps=30", "seeds=2")
    assert code == 1
    assert err.count("loss is") == 2
    assert "2 of 2 members are done" in out
