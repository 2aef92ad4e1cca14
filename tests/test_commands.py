"""Verbs of the command line: their help, and those that belong to no package alone."""

import json
import re
from pathlib import Path

from conftest import Command
from headsweep.commands import verbs
from helpers.run_folders import make_job


def test_help_names_every_verb(command: Command) -> None:
    code, out, _ = command("--help")
    assert code == 0
    assert {"train", "report", "list", "ui"} <= {*verbs()}
    assert {*verbs()} <= {*out.split()}


def test_help_of_train_is_that_of_hydra(command: Command) -> None:
    code, out, _ = command("train", "--help")
    assert code == 0
    for group in ("head", "sweeps"):
        assert re.search(rf"^{group}: .*\w", out, re.MULTILINE)


def test_params_are_the_true_ones(command: Command) -> None:
    code, out, _ = command("params", "--json")
    assert code == 0
    keys = ("raw_projection", "encoded_projection", "head", "total", "aggregated_dim")
    counts = {name: tuple(row[key] for key in keys) for name, row in json.loads(out).items()}
    assert counts == {
        "before": (384, 528, 644, 1_556, 160),
        "conservative": (768, 1_056, 63_652, 65_476, 288),
        "more_capacity": (768, 1_056, 208_132, 209_956, 288),
        "simpler": (768, 1_056, 28_324, 30_148, 288),
        "direct_projection": (768, 1_056, 1_156, 2_980, 288),
    }
    assert "63,652" in command("params")[1]


def test_data_verbs(command: Command, tmp_path: Path) -> None:
    code, out, _ = command("data", "simulate", "sample", "--events", "30", "--seed", "4")
    assert code == 0
    use = ["data=hepattn", "data.source.path=sample"]
    assert " ".join(use) in out
    assert command("data", "simulate", "sample")[0] == 2
    assert "valid: 30 events" in command("data", "validate", *use)[1]
    code, out, _ = command("data", "inspect", *use)
    assert code == 0
    assert "30 events" in out
    assert "hit features (23): globEdgeHighX" in out


def test_sweeps_are_listed_with_their_state(command: Command, tmp_path: Path) -> None:
    make_job(tmp_path / "runs/sweeps/presets/jobs/0", finished=[0], failed=[1])
    make_job(tmp_path / "runs/sweeps/presets/jobs/1", finished=[0])
    make_job(tmp_path / "runs/runs/0f3a", finished=[0], seeds=1)
    code, out, _ = command("list", "--json")
    assert code == 0
    keys = ("name", "jobs", "jobs_finished", "finished", "failed")
    found = [tuple(row[key] for key in keys) for row in json.loads(out)]
    assert found == [("presets", 2, 1, 2, 1), ("runs", 1, 1, 1, 0)]
    lines = [line.split() for line in command("list")[1].splitlines()]
    assert [line[:6] for line in lines[1:]] == [
        ["presets", "1", "of", "2", "2", "1"],
        ["runs", "1", "of", "1", "1", "0"],
    ]


def test_a_sweep_is_removed_by_its_name_alone(command: Command, tmp_path: Path) -> None:
    for name in ("old", "new"):
        make_job(tmp_path / "runs/sweeps" / name / "jobs/0", finished=[0])
    assert command("clean") == (0, "freed 0 B\n", "")
    code, out, _ = command("clean", "--sweep", "old")
    assert (code, out.startswith("freed ")) == (0, True)
    assert [path.name for path in (tmp_path / "runs/sweeps").iterdir()] == ["new"]
