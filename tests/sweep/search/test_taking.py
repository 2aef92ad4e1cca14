"""Trials of another search: which are taken, and that they are this search's from then on."""

import re
import shutil
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
from optuna.distributions import BaseDistribution
from optuna.samplers import TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, create_trial

import headsweep
from headsweep.errors import UserError
from headsweep.files import digest
from headsweep.identity import stable_hash
from headsweep.store.outcome import Outcome
from headsweep.store.trials import OutcomeReader
from headsweep.sweep.compose import loaded_sweep
from headsweep.sweep.plan import Plan, make_plan
from headsweep.sweep.queue import NoTask
from headsweep.sweep.search.rules import Given
from headsweep.sweep.search.status import print_study
from headsweep.sweep.search.taking import copy_taken, take_trials
from helpers.command import SMALL, run_here
from helpers.end_state import hashes, trials
from helpers.frozen import write_folder
from helpers.killable import Killed, world
from helpers.toy_search import DROPOUT, LAYERS, WIDTH, Worker, make_search

pytestmark = pytest.mark.slow

BOTH = ("sweeps=search", *SMALL, "seeds=2", "hydra.sweeper.lag=1")
TPE = "hydra.sweeper.sampler.n_startup_trials=2"
PRUNED = ("hydra.sweeper.pruner.n_startup_trials=1", "hydra.sweeper.pruner.warmup_share=0")
TRAINED = (*BOTH, *PRUNED, "optim.steps=12")
FIRST = (*TRAINED, TPE, "name=a", f"{WIDTH}=int(interval(8,160))")
WIDER = (*TRAINED, TPE, "name=b", f"{WIDTH}=int(interval(8,200))", f"{DROPOUT}=interval(0.0,0.6)")
TAKE = "take=a"
N = 6


def plan(root: Path, *arguments: str) -> Plan:
    return make_plan([*arguments, f"root={root}"], multirun=True)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with a search of six trials, and another of eight that has taken them."""
    root = tmp_path_factory.mktemp("taking") / "runs"
    run_here(root.parent, "train", *FIRST, f"root={root}", f"hydra.sweeper.n_trials={N}")
    wider = (*WIDER, TAKE, f"root={root}", f"hydra.sweeper.n_trials={N + 2}")
    run_here(root.parent, "train", *wider)
    return root


@pytest.fixture
def root(trained: Path, tmp_path: Path) -> Path:
    """A copy, to be spoilt."""
    return Path(shutil.copytree(trained, tmp_path / "runs"))


def study(root: Path, name: str) -> list[FrozenTrial]:
    """What Optuna itself finds of a search."""
    storage = JournalStorage(JournalFileBackend(str(root / f"sweeps/{name}/journal.log")))
    return optuna.load_study(study_name=name, storage=storage).trials


def in_space(trial: FrozenTrial, space: dict[str, BaseDistribution]) -> FrozenTrial:
    """A trial as Optuna adds it to a study of another space."""
    return create_trial(
        state=trial.state,
        params=trial.params,
        distributions={key: space[key] for key in trial.params},
        values=trial.values,
        intermediate_values=trial.intermediate_values,
    )


def test_optuna_has_the_taken_trials_as_its_own_add_trial_makes_them(trained: Path) -> None:
    search = plan(trained, *WIDER, TAKE, f"hydra.sweeper.n_trials={N + 2}").search
    assert search is not None
    ours, theirs = study(trained, "b"), study(trained, "a")
    assert (len(ours), len(theirs)) == (N + 2, N)
    expected = [in_space(trial, search.space) for trial in theirs]
    for mine, there in zip(ours[:N], expected, strict=True):
        for name in ("state", "params", "distributions", "values", "intermediate_values"):
            assert getattr(mine, name) == getattr(there, name)
    assert {trial.state.name for trial in theirs} == {"COMPLETE", "PRUNED"}
    assert [given.origin for given in search.taken] == [f"a/jobs/{number}" for number in range(N)]
    seed = int(stable_hash([0, N, *(given.origin for given in search.taken)], 8), 16)
    options = {key: value for key, value in search.sampler.items() if key != "_target_"}
    plain = optuna.create_study(sampler=TPESampler(seed=seed, **options))
    plain.add_trials(expected)  # all of them, whatever the lag
    trial = plain.ask()
    if trial.suggest_int(LAYERS, 1, 5) > 1:
        trial.suggest_int(WIDTH, 8, 200)
        trial.suggest_float(DROPOUT, 0.0, 0.6)
    assert ours[N].params == trial.params


def test_their_folders_are_copies_with_the_members_as_they_were(trained: Path) -> None:
    for number in range(N):
        there, here = (trained / f"sweeps/{name}/jobs/{number}" for name in "ab")
        members = [path.relative_to(there) for path in there.glob("seed_*/*")]
        assert members
        assert all(digest(there / path) == digest(here / path) for path in members)
        outcome, own = Outcome.read(there), Outcome.read(here)
        assert outcome is not None
        assert own is not None
        assert own.origin == f"a/jobs/{number}"
        assert (own.values, own.spread, own.seeds) == (
            outcome.values,
            outcome.spread,
            outcome.seeds,
        )
        assert own.point == outcome.point


def test_what_is_taken_is_said(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = trained
    print_study(root, "b")
    out = capsys.readouterr().out
    assert f"trials 0 to {N - 1} were taken from a, where they are 0 to {N - 1}\n" in out
    assert "a/jobs/" in out
    table = headsweep.open_sweep("b", root).search
    assert [*table["origin"][:N]] == [f"a/jobs/{number}" for number in range(N)]
    assert "Trials 0 to 5 were taken from a" in headsweep.open_sweep("b", root).report.notes[0]


def test_presets_that_are_taken_are_no_first_trials(trained: Path) -> None:
    there = plan(trained, *FIRST, f"hydra.sweeper.n_trials={N}").search
    here = plan(trained, *WIDER, TAKE, "hydra.sweeper.n_trials=9")
    assert there is not None
    assert here.search is not None
    known = [given.origin for given in there.first]
    assert known == ["head=conservative", "head=simpler", "head=direct_projection"]
    assert here.lines == [
        f"{N} trials of a are taken",
        "first trials: none",
        "head=conservative is no first trial: it is that of a/jobs/0",
        "head=more_capacity is no first trial: head.regression_hidden_dim=256 is not in "
        "int(interval(8, 200))",
        "head=simpler is no first trial: it is that of a/jobs/1",
        "head=direct_projection is no first trial: it is that of a/jobs/2",
    ]


def test_a_search_that_took_trials_goes_on_exactly(root: Path) -> None:
    wider = (*WIDER, TAKE, f"root={root}", f"hydra.sweeper.n_trials={N + 2}")
    before = hashes(root / "sweeps/b"), trials(root / "sweeps/b")
    run_here(root.parent, "train", *FIRST, f"root={root}", f"hydra.sweeper.n_trials={N + 1}")
    for number in (2, N):
        shutil.rmtree(root / f"sweeps/b/jobs/{number}")
    (root / "sweeps/b/journal.log").unlink()
    run_here(root.parent, "train", *wider)
    assert (hashes(root / "sweeps/b"), trials(root / "sweeps/b")) == before


@pytest.mark.parametrize("gone", [["spec.yaml"], ["spec.yaml", "jobs/6"], ["jobs/0", "jobs/3"]])
def test_it_ends_the_same_when_the_other_search_is_gone(root: Path, gone: list[str]) -> None:
    wider = (*WIDER, TAKE, f"root={root}", f"hydra.sweeper.n_trials={N + 2}")
    before = hashes(root / "sweeps/b"), trials(root / "sweeps/b")
    shutil.rmtree(root / "sweeps/a")
    for name in gone:
        path = root / "sweeps/b" / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    run_here(root.parent, "train", *wider)
    assert (hashes(root / "sweeps/b"), trials(root / "sweeps/b")) == before


def test_a_lost_specification_has_what_was_taken_whatever_the_other_search_trained_since(
    root: Path,
) -> None:
    run_here(root.parent, "train", *FIRST, f"root={root}", f"hydra.sweeper.n_trials={N + 1}")
    before = hashes(root / "sweeps/b")
    (root / "sweeps/b/spec.yaml").unlink()
    shutil.rmtree(root / "sweeps/b/jobs/2")
    run_here(root.parent, "train", *WIDER, TAKE, f"root={root}", f"hydra.sweeper.n_trials={N + 2}")
    assert hashes(root / "sweeps/b") == before


def test_what_cannot_be_known_any_more_is_refused(root: Path) -> None:
    shutil.rmtree(root / "sweeps/a")
    shutil.rmtree(root / "sweeps/b/jobs/2")
    (root / "sweeps/b/spec.yaml").unlink()
    with pytest.raises(UserError, match=r"b/spec\.yaml: missing.* put a back, or give name=b-2"):
        plan(root, *WIDER, TAKE, f"hydra.sweeper.n_trials={N + 2}")


def test_a_kill_while_they_are_copied_changes_nothing(root: Path) -> None:
    expected = hashes(root / "sweeps/b")
    jobs = root / "sweeps/b/jobs"
    shutil.rmtree(jobs)
    overrides = ["name=b", *WIDER, TAKE, f"root={root}", "hydra.sweeper.n_trials=8"]
    with world() as here, loaded_sweep(overrides, None) as sweep:
        taken, _ = take_trials(sweep, sweep.search())
        search, leases = replace(sweep.search(), first=taken), here.leases().leases
        for fuse in (0, 3, 20, 50, None):
            with suppress(Killed), here.fuse.lit(fuse):
                copy_taken(sweep, search, root / "sweeps/b", leases)
    found = hashes(root / "sweeps/b")
    assert len([*jobs.iterdir()]) == N
    assert found == {k: v for k, v in expected.items() if not k.startswith(("jobs/6/", "jobs/7/"))}


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        ([f"{WIDTH}=int(interval(100,200))"], r"of 6 trials of a are taken; left out: \d outside"),
        ([f"{LAYERS}=3"], r"of 6 trials of a are taken; left out: \d with another head.regress"),
        (["hydra/sweeper/sampler=random"], "^6 of 6 trials of a are taken$"),
    ],
)
def test_what_is_left_out_is_counted(trained: Path, overrides: list[str], line: str) -> None:
    found = plan(
        trained, *TRAINED, "name=c", TAKE, "hydra.sweeper.n_trials=9", *FIRST[-1:], *overrides
    )
    assert re.search(line, found.lines[0])
    assert found.search is not None
    assert len(found.search.taken) == int(found.lines[0][0])


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["optim.steps=5"], "none of its 6 trials can be taken: 6 with another optim.steps"),
        (["data.source.seed=3"], "none of its 6 .*: 6 with another data.source.seed"),
        (["seeds=3"], "none of its 6 trials can be taken: 6 with other seeds"),
        (["hydra.sweeper.objective=val_loss"], "its objective is val_qoverpt_r68, .* val_loss"),
        (["hydra.sweeper.n_trials=6"], r"n_trials=6: counts the 6 .* hydra.sweeper.n_trials=12"),
        (["take=nope"], "take=nope: there is no such sweep; searches below .*: a, b"),
        (["take=c"], "take=c: is this search itself; .* name=c-2"),
        (["name=a"], "take=a: .*sweeps/a was begun with take=null; give that, .* name=a-2"),
        (
            ["name=b", "take=null"],
            "take=null: .*sweeps/b was begun with take=a; give that",
        ),
    ],
)
def test_what_cannot_be_taken_is_refused(trained: Path, overrides: list[str], message: str) -> None:
    given = {"name": "c", "take": "a", "hydra.sweeper.n_trials": "9", "seeds": "2"}
    keys = {o.partition("=")[0] for o in overrides}
    rest = [o for o in WIDER if o.partition("=")[0] not in {*keys, *given}]
    more = [f"{key}={value}" for key, value in given.items() if key not in keys]
    with pytest.raises(UserError, match=message):
        plan(trained, *rest, *more, *overrides)


def test_other_data_in_the_same_place_are_known(tmp_path: Path) -> None:
    folder = tmp_path / "recorded"
    frozen = ("sweeps=search", "data=frozen", f"data.source.path={folder}", *SMALL[3:], "seeds=1")
    frozen += ("features=document", "target.relative=false")
    own = (*frozen, "first=[]", f"root={tmp_path / 'runs'}")
    write_folder(folder, events=60)
    run_here(tmp_path, "train", *own, "name=a", "hydra.sweeper.n_trials=2")
    shutil.rmtree(folder)
    write_folder(folder, events=60, seed=1)
    with pytest.raises(UserError, match="none of its 2 trials can be taken: 2 of other data"):
        make_plan([*own, "name=c", TAKE, "hydra.sweeper.n_trials=9"], multirun=True)


def test_a_configuration_that_came_again_keeps_its_seeds(tmp_path: Path) -> None:
    own = (*BOTH, f"{LAYERS}=1,2", f"{WIDTH}=8", f"{DROPOUT}=0.1", f"root={tmp_path / 'runs'}")
    run_here(tmp_path, "train", *own, "name=a", "hydra.sweeper.n_trials=4")
    run_here(tmp_path, "train", *own, "name=b", TAKE, "hydra.sweeper.n_trials=6")
    outcomes = OutcomeReader(tmp_path / "runs/sweeps/b").read()
    seeds: dict[str, list[int]] = {}
    for outcome in outcomes.values():
        seeds.setdefault(outcome.point, []).extend(outcome.seeds)
    assert len(outcomes) == 6
    assert sorted(map(len, seeds.values())) != [2, 2]
    assert all(found == [*range(len(found))] for found in seeds.values())


def test_the_best_of_them_can_be_confirmed_and_explained(trained: Path) -> None:
    confirm = plan(trained, "sweeps=confirm", "study=b", "top=2", "seeds=2")
    assert len(confirm.jobs) == 6
    why = plan(trained, "sweeps=why", "study=b", "seeds=2")
    assert why.spec["why"]["study"] == "b"


def test_what_was_taken_ends_as_it_did_and_all_others_know_it() -> None:
    params = {LAYERS: 1, "optim.lr": 0.05}
    taken = [Given(f"a/jobs/{n}", params, f"{n}", "x", step) for n, step in enumerate((20, None))]
    with world() as here:
        first, second = (Worker(here, make_search(lag=9, first=taken)) for _ in range(2))
        task = first.begin()
        assert second.take() is NoTask.WAIT
        assert task.trial is not None
        for step in (10, 20, 30):
            task.trial.report(1.0, step)
            assert task.trial.should_prune() == (step == 20)
        assert (task.number, task.trial.params) == (0, params)
