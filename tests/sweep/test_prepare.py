"""What jobs share is made once, before any of them starts, or refused before anything is made."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from headsweep.config import SelectionConfig
from headsweep.errors import UserError
from headsweep.features.extract import split_parts
from headsweep.identity import member_key
from headsweep.store import runs
from headsweep.sweep.inputs import Inputs, find_source, read_events
from headsweep.sweep.plan import Plan, make_plan
from headsweep.sweep.prepare import find_all_inputs, prepare, selection_lines
from helpers.command import SMALL


@pytest.fixture(autouse=True)
def _messages() -> Iterator[None]:
    """Undo what a command does to messages."""
    yield
    logging.disable(logging.NOTSET)


def prepared_plan(words: list[str]) -> tuple[Plan, list[Inputs]]:
    """A prepared grid and its inputs."""
    plan = make_plan(words, multirun=True)
    return plan, prepare(plan, lambda text, share: None)


def prepared(root: Path, *overrides: str) -> list[tuple[str, float]]:
    """Prepare a grid; what was reported."""
    reports: list[tuple[str, float]] = []
    plan = make_plan([*SMALL, f"root={root}", *overrides], multirun=True)
    prepare(plan, lambda text, share: reports.append((text, share)))
    return reports


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "caches"),
    [
        (["head=simpler,direct_projection"], 1),
        (["data/selection=all_tracks,quality", "optim.lr=0.1,0.2"], 2),
    ],
)
def test_jobs_that_learn_from_the_same_share_a_cache(
    overrides: list[str], caches: int, tmp_path: Path
) -> None:
    reports = prepared(tmp_path, *overrides)
    assert len(list(tmp_path.glob("cache/features/*/meta.json"))) == caches
    assert all(0 <= share <= 1 for _, share in reports)
    counted = {text.split(":")[0] for text, _ in reports if text.startswith("cache")}
    assert len(counted) == caches
    assert not (tmp_path / "sweeps").exists()

    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npy")}
    prepared(tmp_path, *overrides)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npy")} == before


@pytest.mark.slow
def test_what_a_selection_keeps_is_said_of_the_events_that_are_read(tmp_path: Path) -> None:
    words = [*SMALL, f"root={tmp_path}", "head=simpler,direct_projection"]
    assert selection_lines(*prepared_plan(words)) == []
    plan, inputs = prepared_plan([*words, "data.selection.min_pt=20"])
    [line] = selection_lines(plan, inputs)
    events = read_events(plan.jobs[0])
    train, _ = split_parts(
        events,
        find_source(plan.jobs[0]),
        "residual",
        plan.jobs[0].config.data.split,
        SelectionConfig(),
    )
    share = float((train["train"].tracks[:, 2] >= 20).mean())
    assert line == f"data.selection: pT ≥ 20 GeV: {share:.1%} of the true training tracks are kept"


@pytest.mark.slow
def test_what_is_judged_on_test_needs_seeds_that_no_run_has_used(tmp_path: Path) -> None:
    """Also of a dry run, which asks for the same inputs."""
    words = [*SMALL, f"root={tmp_path}", "head=simpler,direct_projection", "design.split=test"]
    plan = make_plan(words, multirun=True)
    key = find_all_inputs(plan)[1].job_key
    run = tmp_path / "runs" / key
    runs.write_job(run, {}, {"job_key": key})
    member = {"status": "finished", "member_key": member_key(key, 0)}
    runs.write_member(run / "seed_0", member)
    with pytest.raises(UserError, match="seed 0; a confirmation needs fresh ones"):
        find_all_inputs(plan)
    assert find_all_inputs(make_plan([*words, "seed=1"], multirun=True))


@pytest.mark.parametrize("name", ["a%20b", "what?"])
def test_a_root_that_mlflow_cannot_name_is_refused_before_it_is_made(
    name: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="train with tracking=false"):
        prepared(tmp_path / name, "tracking=true")
    assert not (tmp_path / name).exists()


def test_a_root_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=f"root={tmp_path / 'file'}"):
        prepared(tmp_path / "file", "head=simpler")


@pytest.mark.slow
@pytest.mark.parametrize(
    "overrides",
    [
        ["device=abacus", "head=simpler"],
        [
            *("head.dropout=interval(0.0,0.4)", "hydra.sweeper.n_trials=2"),
            "hydra.sweeper.storage=sqlite:////nowhere/trials.db",
        ],
    ],
)
def test_what_cannot_be_used_is_found_before_anything_is_made(
    overrides: list[str], tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"device=abacus|hydra\.sweeper\.storage"):
        prepared(tmp_path, *overrides)
    assert not list(tmp_path.glob("[!.]*"))
