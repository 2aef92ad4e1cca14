"""Specifications of sweeps: claimed once, grown, refused to others, and rebuilt when lost."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headsweep.errors import DamagedError, UserError
from headsweep.files import read_sealed
from headsweep.identity import identity, member_key
from headsweep.store import runs
from headsweep.store.outcome import Outcome
from headsweep.store.specification import claim_sweep, grid_spec
from headsweep.sweep.plan import make_plan
from helpers.run_folders import PROCESSES, claim

pytestmark = pytest.mark.slow


SPEC = {"overrides": ["head=a,b"], "data": {"split": {"val": 0.2}}, "seeds": 5}


def test_claim_is_repeatable_and_refuses_another_spec(tmp_path: Path) -> None:
    folder = tmp_path / "sweeps" / "mine"
    assert claim_sweep(folder, SPEC) == SPEC
    assert claim_sweep(folder, SPEC) == SPEC
    before = (folder / "spec.yaml").read_bytes()
    other = {"overrides": ["head=a"], "data": {"split": {"val": 0.3}}, "seeds": 5, "extra": 1}
    with pytest.raises(UserError) as error:
        claim_sweep(folder, other)
    assert str(error.value).splitlines()[1:] == [
        "  data.split.val: 0.2 there, 0.3 here",
        "  extra: (not set) there, 1 here",
        "  overrides: ['head=a,b'] there, ['head=a'] here",
        "keep both with name=mine-2",
    ]
    assert (folder / "spec.yaml").read_bytes() == before


def test_the_way_out_of_a_name_that_is_taken_is_open(tmp_path: Path) -> None:
    """The name is free, and so are the seeds of a confirmation: both have a sweep there."""
    sweeps, keys = tmp_path / "sweeps", ["a", "b"]
    for name, seeds in (("mine", (1000, 1001)), ("mine-2", (1003,))):
        (sweeps / name).mkdir(parents=True)
        runs.write_job(sweeps / name / "jobs" / "0", {}, {"job_key": "a"})
        for seed in seeds:
            member = {"status": "finished", "member_key": member_key("a", seed)}
            runs.write_member(sweeps / name / "jobs" / "0" / f"seed_{seed}", member)
    spec = grid(0.1, 0.2, seed=1000, seeds=2) | {"keys": keys}
    claim_sweep(sweeps / "mine", spec | {"design": {"split": "test", "kind": "control"}})
    with pytest.raises(UserError, match=r"\nkeep both with name=mine-3 seed=1004$"):
        claim_sweep(
            sweeps / "mine",
            spec | {"keys": ["a", "c"], "design": {"split": "test", "kind": "path"}},
        )
    with pytest.raises(UserError, match=r"\nkeep both with name=mine-3$"):
        claim_sweep(
            sweeps / "mine", spec | {"keys": ["a"], "design": {"split": "dev", "kind": "path"}}
        )


def test_seeds_rise_and_never_fall(tmp_path: Path) -> None:
    for seeds, standing in ((5, 5), (8, 8), (3, 8)):
        assert claim_sweep(tmp_path, {**SPEC, "seeds": seeds})["seeds"] == standing
        assert runs.read_spec(tmp_path)["seeds"] == standing


@settings(max_examples=30, deadline=None)
@given(
    st.dictionaries(
        st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False),
            lambda inner: (
                st.lists(inner, max_size=2)
                | st.tuples(inner)
                | st.dictionaries(st.sampled_from("abc"), inner, max_size=2)
            ),
            max_leaves=4,
        ),
        max_size=3,
    )
)
def test_any_plain_spec_can_be_claimed_twice(
    tmp_path_factory: pytest.TempPathFactory, spec: dict[str, Any]
) -> None:
    folder = tmp_path_factory.mktemp("sweep")
    spec.pop("seeds", None)
    claim_sweep(folder, spec)
    claim_sweep(folder, spec)


def test_only_one_of_many_processes_claims(tmp_path: Path) -> None:
    with PROCESSES.Pool(4) as pool:
        outcomes = pool.starmap(claim, [(tmp_path / "sweep", n) for n in range(8)])
    assert sorted(outcomes) == ["claimed"] + ["refused"] * 7


def grid(*rates: float, dropout: float = 0.1, **more: Any) -> dict[str, Any]:
    """Specification of a grid of learning rates; the key of a job names its values."""
    values = {f"{r:g} {dropout:g}": {"optim.lr": r, "head.dropout": dropout} for r in rates}
    labels = {key: f"optim.lr={values[key]['optim.lr']:g}" for key in values}
    inputs = {"data": ["d"], "checkpoints": ["c"], "numerics": 1}
    design = {"kind": "control", "metrics": ["qoverpt_r68"]}
    return {"seeds": 1, "design": design, **grid_spec(labels, values), "inputs": inputs, **more}


@pytest.mark.parametrize(
    ("rates", "keys"),
    [
        ((3.0, 1.0, 2.0), ["1 0.1", "2 0.1", "3 0.1"]),
        ((2.0, 1.0), ["1 0.1", "2 0.1"]),
        ((2.0,), ["1 0.1", "2 0.1"]),
        ((2.0, 5.0, 4.0), ["1 0.1", "2 0.1", "5 0.1", "4 0.1"]),
    ],
)
def test_a_grid_grows_and_no_job_changes_its_number(
    tmp_path: Path, rates: tuple[float, ...], keys: list[str]
) -> None:
    claim_sweep(tmp_path, grid(1.0, 2.0))
    found = claim_sweep(tmp_path, grid(*rates))
    assert found["keys"] == keys
    assert [*found["jobs"]] == [f"{n} optim.lr={key[0]}" for n, key in enumerate(keys)]
    assert [own["optim.lr"] for own in found["jobs"].values()] == [float(key[0]) for key in keys]
    assert found["config"] == {"head.dropout": 0.1}
    assert runs.read_spec(tmp_path) == found == claim_sweep(tmp_path, grid(1.0))


def test_what_a_grid_shares_is_told_anew_when_it_grows_by_another_key(tmp_path: Path) -> None:
    claim_sweep(tmp_path, grid(1.0))
    values = {f"1 {d:g}": {"optim.lr": 1.0, "head.dropout": d} for d in (0.1, 0.2)}
    more = grid(1.0) | grid_spec({key: key for key in values}, values)
    more["inputs"] = {"data": ["e"], "checkpoints": ["c"], "numerics": 1}
    found = claim_sweep(tmp_path, more)
    assert found["config"] == {"optim.lr": 1.0}
    assert [*found["jobs"].values()] == [{"head.dropout": 0.1}, {"head.dropout": 0.2}]
    assert found["inputs"] == {"data": ["d", "e"], "checkpoints": ["c"], "numerics": 1}


@pytest.mark.parametrize(
    ("other", "line"),
    [
        (grid(1.0, 2.0, dropout=0.2), "config.head.dropout: 0.1 there, 0.2 here"),
        (grid(3.0, 4.0), "jobs.0 optim.lr=1.optim.lr: 1.0 there, (not set) here"),
        (grid(1.0, 3.0, design={"kind": "path"}), "design.kind: control there, path here"),
        (grid(1.0, 2.0, seed=5), "seed: (not set) there, 5 here"),
        (grid(1.0, 2.0, confirm={"jobs": {1: 7}}), "confirm.jobs"),
        ({"search": {}, "n_trials": 3, "config": {}}, "search: (not set) there, {} here"),
    ],
)
def test_another_grid_is_refused_with_what_differs(
    tmp_path: Path, other: dict[str, Any], line: str
) -> None:
    kept = claim_sweep(tmp_path, grid(1.0, 2.0))
    with pytest.raises(UserError, match="belongs to another sweep") as caught:
        claim_sweep(tmp_path, other)
    assert line in str(caught.value)
    assert runs.read_spec(tmp_path) == kept


def test_equal_jobs_are_kept_by_the_number_of_the_one_that_counts(tmp_path: Path) -> None:
    claim_sweep(tmp_path, grid(1.0, 2.0))
    found = claim_sweep(tmp_path, grid(3.0, 2.0, same={"twice": 0, "again": 1}))
    assert found["keys"] == ["1 0.1", "2 0.1", "3 0.1"]
    assert found["same"] == {"twice": 2, "again": 1}


def write_jobs(folder: Path, *keys: str) -> None:
    for number, key in enumerate(keys):
        runs.write_job(folder / "jobs" / str(number), {"a": 1}, {"job_key": key})


@pytest.mark.parametrize("damage", [None, b"", b"seeds: 1\n"])
def test_a_lost_specification_is_written_again_where_the_jobs_fit(
    tmp_path: Path, damage: bytes | None
) -> None:
    folder = tmp_path / "sweeps/s"
    claim_sweep(folder, grid(1.0, 2.0, 3.0))
    whole = (folder / "spec.yaml").read_bytes()
    write_jobs(folder, "1 0.1", "2 0.1")
    runs.write_command(folder, "headsweep train")
    (folder / "spec.yaml").unlink()
    if damage is not None:
        (folder / "spec.yaml").write_bytes(damage)
    with pytest.raises(DamagedError, match=r"spec\.yaml: (missing|damaged)"):
        runs.read_spec(folder)
    claim_sweep(folder, grid(3.0, 2.0, 1.0))
    assert (folder / "spec.yaml").read_bytes() == whole


@pytest.mark.parametrize(
    ("changed", "fits"), [([], True), (["optim.lr=0.5"], False), (["head.layer_norm=false"], False)]
)
def test_a_search_with_one_layer_in_it_gets_its_specification_back(
    changed: list[str], fits: bool, tmp_path: Path
) -> None:
    def resolved(*overrides: str) -> dict[str, Any]:
        return make_plan(overrides, multirun=False).jobs[0].resolved

    params = {"head.regression_num_layers": 1}
    trials = (["head.regression_num_layers=1"], ["head.regression_num_layers=4", *changed])
    for number, overrides in enumerate(trials):
        folder = tmp_path / "jobs" / str(number)
        runs.write_job(folder, resolved(*overrides), {"job_key": f"{number}"})
        Outcome("complete", params=params).write(folder)
    wanted = {
        "search": {"head.regression_num_layers": "int(interval(1, 5))"},
        "custom_search_space": None,
        "config": identity(resolved()),
    }
    if fits:
        assert claim_sweep(tmp_path, wanted) == wanted
    else:
        with pytest.raises(UserError, match="jobs/1 is of another sweep"):
            claim_sweep(tmp_path, wanted)


@pytest.mark.parametrize(
    ("origins", "fits"), [(["head=one", ""], True), (["", ""], False), (["head=one"] * 2, False)]
)
def test_a_configuration_that_came_again_and_first_trials_are_of_a_search(
    origins: list[str], fits: bool, tmp_path: Path
) -> None:
    job = make_plan(["head.regression_num_layers=1"], multirun=False).jobs[0].resolved
    params = {"head.regression_num_layers": 1}
    for number, origin in enumerate(origins):
        folder = tmp_path / "jobs" / str(number)
        runs.write_job(folder, job, {"job_key": "the same"})
        Outcome("complete", params=params, origin=origin).write(folder)
    wanted = {
        "search": {"head.regression_num_layers": "int(interval(1, 5))"},
        "custom_search_space": None,
        "config": identity(job),
        "first": [{"origin": "head=one", "params": params}],
    }
    if fits:
        assert claim_sweep(tmp_path, wanted) == wanted
    else:
        with pytest.raises(UserError, match="is of another sweep"):
            claim_sweep(tmp_path, wanted)


@pytest.mark.parametrize(("changed", "fits"), [([], True), (["loss.beta=2"], False)])
def test_a_search_over_weights_of_the_loss_gets_its_specification_back(
    changed: list[str], fits: bool, tmp_path: Path
) -> None:
    """An identity has only those keys of the loss that are not the default."""

    def resolved(*overrides: str) -> dict[str, Any]:
        return make_plan(overrides, multirun=False).jobs[0].resolved

    trials = (
        {"loss.weights.pt": 1.0, "loss.charge": "regression"},
        {"loss.weights.pt": 4.0, "loss.charge": "bce"},
    )
    for number, params in enumerate(trials):
        words = [f"{key}={value}" for key, value in params.items()]
        folder = tmp_path / "jobs" / str(number)
        runs.write_job(folder, resolved(*words, *changed), {"job_key": f"{number}"})
        Outcome("complete", params=params).write(folder)
    wanted = {
        "search": {"loss.weights.pt": "interval(1, 8)", "loss.charge": "choice(regression, bce)"},
        "custom_search_space": None,
        "config": identity(resolved()),
    }
    if fits:
        assert claim_sweep(tmp_path, wanted) == wanted
    else:
        with pytest.raises(UserError, match="jobs/0 is of another sweep"):
            claim_sweep(tmp_path, wanted)


def test_jobs_without_a_specification_are_not_taken_for_another_sweeps(tmp_path: Path) -> None:
    write_jobs(tmp_path, "1 0.1", "9 0.1")
    with pytest.raises(UserError, match="jobs/1 is of another sweep"):
        claim_sweep(tmp_path, grid(1.0, 2.0))
    search = {"search": {"optim.lr": "1,2"}, "custom_search_space": None, "config": {"a": 1}}
    with pytest.raises(UserError, match="jobs/0 is of another sweep"):
        claim_sweep(tmp_path, search)
    for number in range(2):
        Outcome("complete", params={"optim.lr": 1.0}).write(tmp_path / "jobs" / str(number))
    with pytest.raises(UserError, match="jobs/0 is of another sweep"):
        claim_sweep(tmp_path, grid(1.0, 9.0))
    assert read_sealed(tmp_path / "spec.yaml") is None
