"""One job: what it reads, and what its folder says when it is used again."""

from pathlib import Path

import pytest
import torch

from headsweep.features.cache import Features, FeatureSet
from headsweep.store.runs import read_config, read_results
from headsweep.sweep.compose import Job
from headsweep.sweep.inputs import find_inputs
from headsweep.sweep.job import open_folder, run_job
from headsweep.sweep.plan import make_plan
from helpers.command import SMALL


def compose(*overrides: str) -> Job:
    return make_plan(overrides, multirun=False).jobs[0]


def train(folder: Path, *overrides: str) -> None:
    job = compose(*SMALL, *overrides)
    inputs = find_inputs(job)
    run_job(job, inputs, folder, open_folder(job, inputs, folder))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return tmp_path_factory.mktemp("root")


@pytest.mark.slow
def test_a_folder_counts_all_its_seeds(root: Path, tmp_path: Path) -> None:
    for seed, seeds, described, there in (
        (1, 1, (1, 1), [1]),
        (2, 1, (1, 2), [1, 2]),
        (0, 2, (0, 3), [0, 1, 2]),
        (0, 1, (0, 3), [0, 1, 2]),
    ):
        train(tmp_path, f"root={root}", f"seed={seed}", f"seeds={seeds}")
        config = read_config(tmp_path)
        assert (config["seed"], config["seeds"]) == described
        assert list(read_results(tmp_path)) == there


def test_results_of_another_job_in_the_folder_stop_counting(root: Path, tmp_path: Path) -> None:
    train(tmp_path, f"root={root}", "seeds=2")
    train(tmp_path, f"root={root}", "seed=1", "optim.lr=0.01")
    assert list(read_results(tmp_path)) == [1]
    config = read_config(tmp_path)
    assert (config["seed"], config["seeds"], config["optim"]["lr"]) == (1, 1, 0.01)


def test_training_never_opens_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened, load_split = [], FeatureSet.load

    def load_and_tell(self: FeatureSet, split: str) -> Features:
        opened.append(split)
        return load_split(self, split)

    monkeypatch.setattr(FeatureSet, "load", load_and_tell)
    job = compose(*SMALL, f"root={tmp_path}", "data.split.test=0.1")
    run_job(job, find_inputs(job), tmp_path / "run")
    assert set(opened) == {"train", "val"}
    assert not list(tmp_path.glob("cache/features/*-test"))
    assert find_inputs(job).source.test_sample() is not None
