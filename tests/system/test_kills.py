"""A few kinds of ``make killmatrix``: a search ends as if nothing had happened."""

import random
import shutil
from pathlib import Path

import pytest

from helpers.command import run_here
from helpers.disturbances import Case
from helpers.end_state import hashes, trials
from helpers.kill_matrix import KINDS, Row, run_case, schedule, table
from helpers.killing import GRID, SEARCH, Sweep, after_write, kill

WIDER = Sweep(
    "wider", (*SEARCH.arguments, "name=wider", "take=search", "hydra.sweeper.n_trials=9"), 9
)


@pytest.fixture(scope="module")
def taken(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Root of a search that nobody touched, and of another that took its trials."""
    root = tmp_path_factory.mktemp("taken") / "runs"
    shutil.copytree(folder / SEARCH.name, root)
    run_to_the_end(WIDER, root)
    return root


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the root of a search that nobody touched."""
    folder = tmp_path_factory.mktemp("kills")
    run_to_the_end(SEARCH, folder / SEARCH.name)
    return folder


def run_to_the_end(sweep: Sweep, root: Path, *more: str) -> None:
    """The same command in this process: what nobody kills needs none of its own."""
    run_here(root.parent, "train", *sweep.arguments, f"root={root}", *more)


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind",
    [
        "SIGKILL just after a write",
        "SIGINT",
        "SIGSTOP of a worker with the lock",
        "deletion",
    ],
)
def test_the_same_command_ends_as_if_nothing_had_happened(
    kind: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Sweep, "run_to_the_end", run_to_the_end)
    case = run_case(len(kind), kind, SEARCH, folder, seed=1)
    assert case.wrong == [], case.words


@pytest.mark.slow
@pytest.mark.parametrize("number", [2, 7])
def test_a_search_that_is_killed_while_it_takes_trials_takes_the_same(
    number: int, folder: Path, taken: Path, tmp_path: Path
) -> None:
    """The n-th folder of a trial: the first ones are copied, the last ones trained."""
    root = Path(shutil.copytree(folder / SEARCH.name, tmp_path / "runs"))
    process = after_write(WIDER, root, "result", number, random.Random(number))
    assert process is not None, "it ended before it could be killed"
    kill(process)
    assert len([*WIDER.folder(root).glob("jobs/*")]) < WIDER.jobs
    run_to_the_end(WIDER, root)
    reference, found = WIDER.folder(taken), WIDER.folder(root)
    assert hashes(found) == hashes(reference)
    assert trials(found) == trials(reference)


def test_a_matrix_has_every_kind_for_both_sweeps() -> None:
    cases = schedule([], 50)
    assert {*cases} == {(kind, sweep) for kind in KINDS for sweep in (SEARCH, GRID)}


def test_a_case_that_differs_is_counted(tmp_path: Path) -> None:
    row = Row()
    for sweep, wrong in ((SEARCH, []), (GRID, ["jobs/0 differs"])):
        row.add(sweep, Case(sweep, tmp_path, tmp_path, random.Random(0), wrong, lost={0, 1}))
    assert table({"cut": row})[-2:] == ["| cut | 1 | 1 | 1 | 2 |", "| all | 1 | 1 | 1 | 2 |"]
