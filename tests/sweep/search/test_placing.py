"""Known configurations as trials of a search: what they are is what composing them says."""

from typing import Any

import pytest
import yaml
from optuna.trial import Trial

from headsweep.config import config_root
from headsweep.errors import UserError
from headsweep.identity import identity
from headsweep.instantiate import allow
from headsweep.sweep.inputs import with_width
from headsweep.sweep.plan import make_plan
from headsweep.sweep.search.placing import Outside, Place, Space
from headsweep.sweep.search.rules import Search
from helpers.toy_search import DROPOUT, LAYERS, WIDTH, composed, read

HEADS = ["conservative", "more_capacity", "simpler", "direct_projection"]


def plan(*overrides: str) -> tuple[Search, list[str]]:
    """The search of a command line, and what is said of its first trials."""
    found = make_plan(["hydra.sweeper.n_trials=9", "data=tiny", *overrides], multirun=True)
    assert found.search is not None
    return found.search, found.lines


def test_the_shipped_search_begins_with_the_presets_as_their_files_are() -> None:
    search, lines = plan("sweeps=search")
    assert lines == ["first trials: " + ", ".join(f"head={name}" for name in HEADS)]
    for name, given in zip(HEADS, search.first, strict=True):
        file = yaml.safe_load((config_root() / f"conf/head/{name}.yaml").read_text())
        del file["defaults"]
        assert given.origin == f"head={name}"
        assert given.params == {f"head.{key}": value for key, value in file.items()}


def test_one_key_turns_it_off() -> None:
    search, lines = plan("sweeps=search", "first=[]")
    assert (search.first, lines) == ([], [])
    assert "first" not in search.spec()


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (
            [f"{WIDTH}=int(interval(32, 128))"],
            f"head=conservative is no first trial: {WIDTH}=144 is not in int(interval(32, 128))",
        ),
        (
            [f"{WIDTH}=144,96", f"{DROPOUT}=0.05,0.2"],
            f"head=conservative is no first trial: {DROPOUT}=0.1 is not in choice(0.05, 0.2)",
        ),
        (
            [f"{DROPOUT}=interval(0.0,0.4)", f"{LAYERS}=2"],
            f"head=conservative is no first trial: {LAYERS} is 3 in it, 2 in the search",
        ),
        (
            [f"{DROPOUT}=interval(0.0,0.4)", "arm=before_log_pt"],
            "head=conservative is no first trial: pooling.width is full in it, half in the search",
        ),
        (
            ["head=simpler,dense", f"{DROPOUT}=interval(0.0,0.4)"],
            "head=conservative is no first trial: head=conservative is not in "
            "choice('simpler', 'dense')",
        ),
        (
            [f"{DROPOUT}=interval(0.0,0.4)", "first=[conservative,conservative]"],
            "head=conservative is no first trial: it is that of head=conservative",
        ),
    ],
)
def test_a_preset_outside_is_left_out_with_the_reason(overrides: list[str], line: str) -> None:
    search, lines = plan("first=[conservative]", *overrides)
    assert lines[1:] == [line]
    assert len(search.first) == lines.count("first trials: head=conservative")


def test_a_preset_has_the_rate_of_the_search_unless_that_is_searched() -> None:
    more = ["first=[simpler]", f"{WIDTH}=int(interval(8,256))", f"{LAYERS}=2"]
    fixed, _ = plan(*more, f"{DROPOUT}=0.05")
    assert [given.params for given in fixed.first] == [{WIDTH: 96}]
    searched, _ = plan(*more, f"{DROPOUT}=0.05", "optim.lr=interval(0.001,0.1)")
    assert [given.params for given in searched.first] == [{WIDTH: 96, "optim.lr": 0.02}]


@pytest.mark.parametrize(
    ("overrides", "multirun"),
    [
        (["first=[simpler]"], False),
        (["first=[simpler]", f"{LAYERS}=1,2"], True),
        (["first=[simpler]", "sweeps=search", "hydra/sweeper=optuna"], True),
    ],
)
def test_first_trials_are_for_our_searches(overrides: list[str], multirun: bool) -> None:
    with pytest.raises(UserError, match=r"first=\[.*(is for searches|only hydra/sweeper=heads)"):
        make_plan(overrides, multirun=multirun)


def test_the_shipped_search_is_one_of_the_official_sweeper_too() -> None:
    found = make_plan(["sweeps=search", "hydra/sweeper=optuna"], multirun=True)
    assert (found.trials, found.search, found.lines) == (60, None, [])


def test_a_name_that_is_no_head_is_refused() -> None:
    with pytest.raises(UserError, match=r"first=simpl: is no head; did you mean simpler\?"):
        plan("sweeps=search", "first=[simpl]")


def place(search: Search, *overrides: str) -> Place | Outside:
    """A configuration of a command line in a search."""
    job = composed().compose([*overrides])
    space = Space(search, lambda values: composed().compose(values).resolved)
    return space.place(job.resolved, job.labels)


@pytest.mark.parametrize(
    ("searched", "own", "params"),
    [
        ([f"{DROPOUT}=0.1,0.2"], ["optim.lr=0.05", f"{DROPOUT}=0.2"], {DROPOUT: 0.2}),
        (
            ["pooling.statistics=[avg],[avg,max]"],
            ["optim.lr=0.05", "pooling.statistics=[avg,max]"],
            {"pooling.statistics": "[avg,max]"},
        ),
        (["target=plain,log_pt"], ["optim.lr=0.05", "target=log_pt"], {"target": "log_pt"}),
        ([f"{WIDTH}=null,32"], ["optim.lr=0.05", f"{WIDTH}=null"], {WIDTH: "null"}),
        (
            [f"{LAYERS}=1,2", f"{WIDTH}=int(interval(8,64))"],
            ["optim.lr=0.05", f"{LAYERS}=1", f"{WIDTH}=999"],
            {LAYERS: 1},
        ),
        (
            ["head=simpler,conservative"],
            ["optim.lr=0.05", "head=simpler"],
            {"head": "simpler"},
        ),
    ],
)
def test_a_place_gives_the_same_configuration(
    searched: list[str], own: list[str], params: dict[str, Any]
) -> None:
    search = read(*searched)
    found = place(search, *own)
    assert isinstance(found, Place)
    assert found.trial.params == {"optim.lr": 0.05, **params}
    job, again = composed().compose(own), composed().compose(found.overrides)
    assert identity(with_width(again.resolved)) == identity(with_width(job.resolved))


def more(config: Any, trial: Trial) -> None:
    trial.suggest_float("optim.weight_decay", 1e-3, 1e-1, log=True)


def test_a_configuration_without_a_searched_key_is_outside() -> None:
    found = place(read(f"{LAYERS}=1,2"), "optim.lr=0.05", "head=dense")
    assert found == Outside(LAYERS, f"it has no {LAYERS}", searched=True)


@pytest.mark.parametrize(("decay", "inside"), [(0.02, True), (0.5, False)])
def test_a_users_own_part_of_the_space_is_placed_too(decay: float, inside: bool) -> None:
    allow(__name__)
    search = read(custom_search_space=f"{__name__}.more")
    found = place(search, "optim.lr=0.05", f"optim.weight_decay={decay}")
    if inside:
        assert isinstance(found, Place)
        assert found.trial.params == {"optim.lr": 0.05, "optim.weight_decay": decay}
    else:
        assert isinstance(found, Outside)
        assert (found.key, found.searched) == ("optim.weight_decay", True)
