"""Two jobs side by side."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest
from typer.testing import CliRunner

from headsweep.commands import app
from headsweep.config import MLPHeadConfig
from headsweep.errors import UserError
from headsweep.report.diff import find_differences
from headsweep.store.runs import read_config, read_job, write_job
from helpers.toy_runs import write_toy_job


def head(**keys: float) -> dict[str, object]:
    return {"head": asdict(MLPHeadConfig(**keys))}


def test_settings_and_figures_that_differ(tmp_path: Path) -> None:
    simpler = head(regression_hidden_dim=96, regression_num_layers=2, dropout=0.05)
    direct = head(regression_num_layers=1, dropout=0.3)
    write_toy_job(tmp_path / "sweeps/s/jobs/0", {0: 0.10, 1: 0.14}, config=simpler)
    write_toy_job(tmp_path / "runs/b", {0: 0.18}, config=direct)
    found = find_differences(tmp_path, "s/jobs/0", "b")
    assert found.settings == {
        "head.regression_hidden_dim": (96, "no effect"),
        "head.regression_num_layers": (2, 1),
        "head.dropout": (0.05, "no effect"),
        "head.layer_norm": (True, "no effect"),
        "seeds": (2, 1),
    }
    assert found.figure_rows() == [["qoverpt_r68 ↓", "0.12 ± 0.25", "0.18", "+50.0%"]]


def test_a_job_from_before_there_was_a_choice_of_losses_has_the_default(tmp_path: Path) -> None:
    write_toy_job(tmp_path / "runs/new", {0: 0.1})
    config = {k: v for k, v in read_config(tmp_path / "runs/new").items() if k != "loss"}
    about = read_job(tmp_path / "runs/new")
    assert about is not None
    write_job(tmp_path / "runs/old", config, about)
    assert find_differences(tmp_path, "old", "new").settings == {}
    write_toy_job(tmp_path / "runs/bce", {0: 0.1}, config={"loss": {"charge": "bce"}})
    found = find_differences(tmp_path, "old", "bce").settings
    assert found["loss.charge"] == ("regression", "bce")


def test_a_job_differs_in_nothing_from_itself(tmp_path: Path) -> None:
    write_toy_job(tmp_path / "runs/a", {0: 0.1})
    result = CliRunner().invoke(app, ["diff", "a", "a", "--root", str(tmp_path)])
    assert result.stdout.splitlines()[0] == "no setting differs"
    assert "+0.0%" in result.stdout


def test_json_has_the_values_themselves(tmp_path: Path) -> None:
    for key, layers in (("a", 1), ("b", 3)):
        write_toy_job(tmp_path / "runs" / key, {0: 0.1}, config=head(regression_num_layers=layers))
    result = CliRunner().invoke(app, ["diff", "a", "b", "--json", "--root", str(tmp_path)])
    found = json.loads(result.stdout)
    assert found["settings"]["head.regression_num_layers"] == [1, 3]
    assert found["figures"]["qoverpt_r68"][0] == {"mean": 0.1, "half": None, "n": 1}


def test_what_is_no_job_is_named(tmp_path: Path) -> None:
    write_toy_job(tmp_path / "runs/a", {0: 0.1})
    with pytest.raises(UserError, match=r"^s is not the folder of a job"):
        find_differences(tmp_path, "a", "s")
