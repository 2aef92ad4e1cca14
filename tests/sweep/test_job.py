"""One job: which backbone it may use, and what its folder says when it is used again."""

from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from headsweep.backbone.transformer import SHIPPED, Architecture, HitTransformer, load, save
from headsweep.errors import UserError
from headsweep.events.hepattn import FEATURES
from headsweep.features.cache import Features, FeatureSet
from headsweep.store.runs import read_config, read_results
from headsweep.sweep.compose import Job
from headsweep.sweep.inputs import check_test, find_inputs, find_source
from headsweep.sweep.job import run_job
from headsweep.sweep.plan import make_plan
from helpers.toy_events import ToySource, toy_events

SMALL = [
    *("data=tiny", "data.source.events=60", "backbone=truth", "tracking=false"),
    *("optim.steps=4", "optim.batch_size=16"),
]


def compose(*overrides: str) -> Job:
    return make_plan(overrides, multirun=False).jobs[0]


def train(folder: Path, *overrides: str) -> None:
    job = compose(*SMALL, *overrides)
    run_job(job, find_inputs(job), folder)


def test_a_backbone_trained_on_these_events_needs_the_same_split(tmp_path: Path) -> None:
    path = tmp_path / "own.safetensors"
    use = ["data=tiny", f"backbone.checkpoint={path}"]
    model = HitTransformer(Architecture(tuple(FEATURES), queries=2))
    trained = compose("data=tiny")
    split = asdict(trained.config.data.split)
    model.facts = {"data_key": find_source(trained).key(), "split": split}
    save(model, path)
    assert find_inputs(compose(*use)).checkpoint == model.key()
    assert find_inputs(compose(*use, "data.source.seed=5")).checkpoint == model.key()
    for other in ("data.split.seed=1", "data.split.val=0.1", "data.split.folds=5"):
        with pytest.raises(UserError, match="trained on events of these very data"):
            find_inputs(compose(*use, other))


def test_the_shipped_backbone_is_not_for_its_own_events() -> None:
    model = load("shipped")
    assert SHIPPED.is_file()
    assert model.key() == "1cd7dd606b5abc35"
    own = compose("data.source.events=16000", "data.source.seed=1001")
    assert find_source(own).key() == model.facts["data_key"]
    with pytest.raises(UserError, match="trained on events of these very data"):
        find_inputs(own)
    assert find_inputs(compose()).checkpoint == model.key()


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return tmp_path_factory.mktemp("root")


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


@pytest.mark.parametrize(
    ("overrides", "ok"),
    [([], False), (["data.split.test=0.1"], True), (["data.split.folds=5"], False)],
)
def test_data_that_are_no_simulation_need_a_test_split(overrides: list[str], ok: bool) -> None:
    job = compose("backbone=truth", *overrides)
    simulated = find_inputs(job)
    check_test([job], [simulated])
    given = replace(simulated, source=ToySource(toy_events(20)))
    if ok:
        check_test([job], [given])
    else:
        with pytest.raises(
            UserError, match=r"no test split to confirm on; .*data\.split\.test=0\.2"
        ):
            check_test([job], [given])
