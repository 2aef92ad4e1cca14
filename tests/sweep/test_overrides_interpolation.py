"""Interpolations in overrides: every job resolves them by itself, as Hydra's own sweeper does."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from headsweep.config import TABLES
from headsweep.errors import UserError
from headsweep.sweep.plan import Plan, make_plan

pytestmark = pytest.mark.slow

HYDRA = """
import json
import hydra
from omegaconf import OmegaConf
from headsweep.config import config_root, register

register()

@hydra.main(config_path=str(config_root() / "conf"), config_name="config")
def main(cfg):
    print(json.dumps(OmegaConf.to_container(cfg, resolve=True)))

main()
"""

WRITTEN = [
    *("seed=5", "optim.lr=0.1", "data=acts", "data.split.folds=null"),
    "head.regression_hidden_dim=32,96",
    "optim.batch_size=${head.regression_hidden_dim}",
    "optim.steps='${optim.batch_size}'",
    "data.split.seed=${seed}",
    "head.dropout=0.2,${optim.lr}",
    "data.source.path='a ${name} b'",
    r"data.source.plane=${oc.env:PLANE}",
    "data.source.features=[x,'${data.source.${oc.env:KEY}}',${name}]",
    "data.source.scales={x:${optim.lr},y:2.0}",
    r"data.source.derived=['\${name}']",
]


def sweep(*overrides: str) -> Plan:
    return make_plan(overrides, multirun=True)


def test_jobs_are_what_hydra_composes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLANE", "rz")
    monkeypatch.setenv("KEY", "plane")
    script = tmp_path / "app.py"
    script.write_text(HYDRA)
    command = [sys.executable, script, "-m", "name=n", "hydra/sweeper=basic", *WRITTEN]
    run = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    theirs = [json.loads(line) for line in run.stdout.splitlines()]
    ours = [job.resolved for job in sweep("name=n", *WRITTEN).jobs]
    assert ours == [{k: v for k, v in config.items() if k not in TABLES} for config in theirs]
    assert [job["optim"]["steps"] for job in ours] == [32, 32, 96, 96]
    assert [job["head"]["dropout"] for job in ours] == [0.2, 0.1, 0.2, 0.1]
    assert ours[0]["data"]["source"]["derived"] == ["${name}"]


def own(folder: Path, text: str) -> str:
    (folder / "sweeps").mkdir()
    (folder / "sweeps/own.yaml").write_text(f"# @package _global_\n{text}")
    return str(folder)


@pytest.mark.parametrize(
    "text",
    [
        "hydra: {sweeper: {params: {head.regression_hidden_dim: '32,96',"
        " optim.batch_size: '${head.regression_hidden_dim}'}}}",
        "optim: {batch_size: '${head.regression_hidden_dim}'}\n"
        "hydra: {sweeper: {params: {head.regression_hidden_dim: '32,96'}}}",
        "arms:\n  a: &own {head.regression_hidden_dim: 32,"
        " optim.batch_size: '${head.regression_hidden_dim}'}\n"
        "  b: {<<: *own, head.regression_hidden_dim: 96}",
    ],
)
def test_a_file_of_sweeps_is_read_as_written(tmp_path: Path, text: str) -> None:
    jobs = make_plan(["sweeps=own"], True, own(tmp_path, text)).jobs
    assert [job.config.optim.batch_size for job in jobs] == [32, 96]


def test_a_search_resolves_in_every_trial() -> None:
    batch = "optim.batch_size=${head.regression_hidden_dim}"
    width = "head.regression_hidden_dim=int(interval(32,96))"
    trials = ["hydra.sweeper.n_trials=2", "hydra/sweeper/pruner=none"]
    jobs = sweep(width, batch, *trials).jobs
    assert [job.config.optim.batch_size for job in jobs] == [144, 32, 96]


def test_a_single_run_keeps_what_was_written() -> None:
    written = "optim.batch_size=${head.regression_hidden_dim}"
    [job] = make_plan([written], multirun=False).jobs
    assert job.overrides == [written]
    assert job.config.optim.batch_size == 144


@pytest.mark.parametrize("multirun", [False, True])
@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("head.dropout=${oc.env:NOT_THERE}", "head.dropout: .*'NOT_THERE' not found"),
        ("optim.steps=${nope}", "optim.steps: .*'nope' not found"),
        ("root=${nope.deep}", "root: .*'nope.deep' not found"),
        ("optim.steps=${no_such:1}", "optim.steps: .*no_such"),
        ("optim.steps=${optim.steps}", "optim.steps: .*[Rr]ecursi"),
        ("optim.steps=${data.source.seed", "optim.steps"),
    ],
)
def test_what_cannot_be_resolved_is_one_line(override: str, message: str, multirun: bool) -> None:
    swept = ["head.layer_norm=true,false"] if multirun else []
    with pytest.raises(UserError, match=message) as caught:
        make_plan([override, *swept], multirun)
    assert len(str(caught.value).splitlines()) == 1
