"""The ledger of the looks at a sweep."""

import shutil
from pathlib import Path

import pytest

from headsweep.errors import DamagedError, UserError
from headsweep.store import looks
from headsweep.store.looks import Look, SeenArm
from headsweep.store.paths import LOOKS


def look(time: str, **members: str) -> Look:
    """A look at arms, each with as many seeds as the name of its members has letters."""
    arms = {number: SeenArm(number, len(name), len(name), name) for number, name in members.items()}
    return Look(time, {"kind": "control", "metrics": ["qoverpt_r68"], "split": "dev"}, arms)


def test_the_same_members_are_no_new_look(tmp_path: Path) -> None:
    assert looks.read(tmp_path) == []
    first = look("2026-11-01T10:00:00+00:00", a="abc", b="abd")
    second = look("2026-11-02T10:00:00+00:00", a="abcde", b="abdef")
    looks.record(tmp_path, first)
    looks.record(tmp_path, look("2026-11-01T11:00:00+00:00", a="abc", b="abd"))
    looks.record(tmp_path, second)
    looks.record(tmp_path, look("2026-11-03T10:00:00+00:00", a="abc", b="abd"))
    assert looks.read(tmp_path) == [first, second]


def test_a_copy_of_the_sweep_keeps_it(tmp_path: Path) -> None:
    looks.record(tmp_path / "here", look("2026-11-01T10:00:00+00:00", a="abc"))
    shutil.copytree(tmp_path / "here", tmp_path / "there")
    assert looks.read(tmp_path / "there") == looks.read(tmp_path / "here")


def test_a_changed_ledger_is_refused(tmp_path: Path) -> None:
    looks.record(tmp_path, look("2026-11-01T10:00:00+00:00", a="abc"))
    path = tmp_path / LOOKS
    path.write_text(path.read_text().replace('"n": 3', '"n": 5'))
    with pytest.raises(DamagedError, match=r"looks\.json: damaged, .*; bring it back from a copy"):
        looks.read(tmp_path)
    with pytest.raises(UserError, match="damaged"):
        looks.record(tmp_path, look("2026-11-01T10:00:00+00:00", a="abcd"))
