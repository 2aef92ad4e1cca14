"""Names of jobs: what differs among them, and nothing else."""

import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from headsweep.config import MLPHeadConfig
from headsweep.errors import DataError
from headsweep.files import write_sealed
from headsweep.store import labels
from helpers.toy_runs import write_toy_job


def names(folder: Path) -> list[str]:
    return list(labels.group_rows(labels.read_jobs(folder)))


def test_presets_are_called_by_their_head(tmp_path: Path) -> None:
    for i, head in enumerate(("conservative", "simpler")):
        job = tmp_path / "jobs" / str(i)
        write_toy_job(job, {0: 0.1}, labels={"head": head}, overrides=[f"head={head}", "seeds=1"])
    assert names(tmp_path) == ["conservative", "simpler"]


def test_arms_are_called_by_their_names_alone(tmp_path: Path) -> None:
    """What an arm brings, such as a head of the same name, is not said again."""
    for i, (arm, head) in enumerate([("theirs", "theirs"), ("smaller", "theirs"), ("d", "dense")]):
        write_toy_job(
            tmp_path / "jobs" / str(i), {0: 0.1}, labels={"arm": arm, "head": head}, overrides=[]
        )
    assert names(tmp_path) == ["theirs", "smaller", "d"]


def test_a_grid_names_groups_and_values(tmp_path: Path) -> None:
    for i, (head, lr) in enumerate([("simpler", 1e-3), ("simpler", 0.01), ("before", 0.01)]):
        write_toy_job(
            tmp_path / "jobs" / str(i),
            {0: 0.1},
            labels={"head": head},
            overrides=[f"head={head}", f"optim.lr={lr}", "root=elsewhere"],
            config={"optim": {"lr": lr}, "root": str(i)},
        )
    assert names(tmp_path) == ["simpler lr=0.001", "simpler lr=0.01", "before lr=0.01"]


def test_values_come_from_the_configuration(tmp_path: Path) -> None:
    for i, dropout in enumerate((0.05, 0.1)):
        write_toy_job(
            tmp_path / "jobs" / str(i),
            {0: 0.1},
            overrides=["head.dropout=0.05"] if i == 0 else [],  # 0.1 is the default
            config={"head": asdict(MLPHeadConfig(dropout=dropout))},
        )
    assert names(tmp_path) == ["dropout=0.05", "dropout=0.1"]


def test_the_only_job_is_called_by_its_head(tmp_path: Path) -> None:
    write_toy_job(tmp_path / "jobs" / "0", {0: 0.1}, overrides=["head=conservative"])
    assert names(tmp_path) == names(tmp_path / "jobs" / "0") == ["conservative"]


def test_equal_names_are_told_apart(tmp_path: Path) -> None:
    for i in range(2):
        write_toy_job(tmp_path / "jobs" / str(i), {i: 0.1}, overrides=[f"seed={i}"])
    assert names(tmp_path) == ["conservative (job 0)", "conservative (job 1)"]


def test_folds_of_one_configuration_share_a_row(tmp_path: Path) -> None:
    jobs = [(head, seed, fold) for head in ("a", "b") for seed in (0, 1) for fold in range(3)]
    for i, (head, seed, fold) in enumerate(jobs):
        write_toy_job(
            tmp_path / "jobs" / str(i),
            {0: 0.1},
            labels={"head": head},
            overrides=[f"data.split.fold={fold}", f"data.split.seed={seed}"],
            split={"folds": 3, "fold": fold, "seed": seed},
        )
    groups = labels.group_rows(labels.read_jobs(tmp_path))
    assert {name: len(group) for name, group in groups.items()} == {"a": 6, "b": 6}
    assert [job.block for job in groups["a"]] == [(s, f) for s in (0, 1) for f in range(3)]


def test_more_seeds_may_be_planned_by_the_sweep(tmp_path: Path) -> None:
    write_toy_job(tmp_path / "jobs" / "0", {0: 0.1}, seeds=2)
    write_sealed(tmp_path / "spec.yaml", {"seeds": 5})
    assert labels.read_jobs(tmp_path)[0].seeds == {0, 1, 2, 3, 4}


def test_seeds_of_two_commands_add_up(tmp_path: Path) -> None:
    write_toy_job(tmp_path / "jobs" / "0", {0: 0.1, 5: 0.1}, config={"seed": 5}, seeds=1)
    assert labels.read_jobs(tmp_path)[0].seeds == {0, 5}


def test_split_seeds_without_folds_have_rows_of_their_own(tmp_path: Path) -> None:
    for seed in range(2):
        write_toy_job(
            tmp_path / "jobs" / str(seed),
            {0: 0.1},
            overrides=[f"data.split.seed={seed}"],
            split={"seed": seed},
        )
    assert names(tmp_path) == ["split.seed=0", "split.seed=1"]


def test_a_damaged_job_is_named(tmp_path: Path) -> None:
    write_toy_job(tmp_path / "jobs" / "0", {0: 0.1})
    (tmp_path / "jobs" / "0" / "job.json").write_text("{")
    with pytest.raises(DataError, match=r"jobs/0/job\.json: damaged"):
        labels.read_jobs(tmp_path)


def test_jobs_from_before_there_was_a_choice_of_losses_have_the_default(tmp_path: Path) -> None:
    """A sweep that is extended today has both."""
    for i, own in enumerate(({}, {"loss": "smooth_l1"}, {"loss": "gaussian"})):
        write_toy_job(
            tmp_path / "jobs" / str(i),
            {0: 0.1},
            labels={"head": f"head{i}", **own},
            overrides=[f"head=head{i}"],
        )
    assert names(tmp_path) == ["head0 smooth_l1", "head1 smooth_l1", "head2 gaussian"]
    shutil.rmtree(tmp_path / "jobs" / "2")
    assert names(tmp_path) == ["head0", "head1"]


@pytest.mark.parametrize(
    ("config", "zero", "words"),
    [
        ({"target": {"name": "plain"}}, True, ("plain", "smooth_l1")),
        ({"target": {"name": "log_pt", "relative": True}}, True, ("log_pt, relative", "smooth_l1")),
        (
            {"target": {"name": "plain", "standardise": False, "pt_unit": 200.0}},
            *(True, ("plain, pt_unit=200", "smooth_l1")),
        ),
        (
            {"target": {"name": "plain"}, "loss": {"name": "gaussian", "charge": "bce"}},
            *(False, ("plain", "gaussian, charge=bce")),
        ),
        (
            {"target": {"name": "plain", "phi": "sincos"}, "loss": {"weights": {"pt": 8.0}}},
            *(True, ("plain, phi=sincos", "smooth_l1, weights.pt=8")),
        ),
    ],
)
def test_what_losses_are_of(config: dict[str, Any], zero: bool, words: tuple[str, str]) -> None:
    key = labels.loss_key(config)
    assert labels.has_zero(key) is zero
    assert labels.loss_words(key) == words


def test_keys_without_effect_make_no_other_loss() -> None:
    plain = {"target": {"name": "plain"}}
    default = {"name": "smooth_l1", "beta": 1.0, "charge": "regression"}
    assert labels.loss_key(plain) == labels.loss_key({**plain, "loss": default})
    one, other = (
        labels.loss_key({**plain, "loss": {"name": "gaussian", "beta": b}}) for b in (1.0, 2.0)
    )
    assert one == other != labels.loss_key(plain)
