"""A few kinds of ``make killmatrix``: a search ends as if nothing had happened."""

import random
from pathlib import Path

import pytest

from helpers.command import run_here
from helpers.disturbances import Case
from helpers.kill_matrix import KINDS, Row, run_case, schedule, table
from helpers.killing import GRID, SEARCH, Sweep


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


def test_a_matrix_has_every_kind_for_both_sweeps() -> None:
    cases = schedule([], 50)
    assert {*cases} == {(kind, sweep) for kind in KINDS for sweep in (SEARCH, GRID)}


def test_a_case_that_differs_is_counted(tmp_path: Path) -> None:
    row = Row()
    for sweep, wrong in ((SEARCH, []), (GRID, ["jobs/0 differs"])):
        row.add(sweep, Case(sweep, tmp_path, tmp_path, random.Random(0), wrong, lost={0, 1}))
    assert table({"cut": row})[-2:] == ["| cut | 1 | 1 | 1 | 2 |", "| all | 1 | 1 | 1 | 2 |"]
