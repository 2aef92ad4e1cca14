"""Inputs of a job: which backbone, device and test split it may use."""

from dataclasses import asdict, replace
from pathlib import Path

import pytest

from headsweep.backbone.transformer import SHIPPED, Architecture, HitTransformer, load, save
from headsweep.errors import UserError
from headsweep.events.hepattn import FEATURES
from headsweep.identity import member_key
from headsweep.store import runs
from headsweep.sweep.compose import Job
from headsweep.sweep.inputs import check_device, check_fresh, check_test, find_inputs, find_source
from headsweep.sweep.plan import make_plan
from helpers.toy_events import ToySource, toy_events


def compose(*overrides: str) -> Job:
    """The job of a command line."""
    return make_plan(overrides, multirun=False).jobs[0]


@pytest.mark.slow
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
        with pytest.raises(UserError, match=str(find_source(trained).key())):
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
        with pytest.raises(UserError, match=r"data\.split\.test=0\.2"):
            check_test([job], [given])


def test_a_device_that_torch_does_not_know_is_refused() -> None:
    check_device("cpu")
    for name in ("abacus", "gpu", "cuda:x", "meta", "mkldnn", "hpu", "privateuseone", ""):
        with pytest.raises(UserError, match=f"device={name}: no such device; a GPU is cuda,"):
            check_device(name)


def test_seeds_that_any_run_has_used_are_refused(tmp_path: Path) -> None:
    keys = ["key of conservative", "key of simpler"]
    own = tmp_path / "sweeps" / "confirm"
    check_fresh(own, tmp_path, keys, range(1000, 1010))
    for place in (own / "jobs" / "0", tmp_path / "runs" / "key of conservative"):
        runs.write_job(place, {}, {"job_key": keys[0]})
        member = {"status": "finished", "member_key": member_key(keys[0], 1003)}
        runs.write_member(place / "seed_1003", member)
    check_fresh(own, tmp_path, keys, range(1004, 1014))
    with pytest.raises(
        UserError, match=r"runs/key of .* seed 1003; .*: add name=confirm-2 seed=1010"
    ):
        check_fresh(own, tmp_path, keys, range(1000, 1010))
    new = tmp_path / "sweeps" / "new"
    with pytest.raises(UserError, match=r"seed 1003; .*: add seed=1010$"):
        check_fresh(new, tmp_path, keys, range(1000, 1010))
