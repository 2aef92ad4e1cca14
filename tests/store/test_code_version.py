"""Version of the code: of an installed package, of a commit, and of changed files."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from headsweep import __version__
from headsweep.store import code_version as module
from headsweep.store.code_version import code_version


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder that stands for the checkout; the version is found once in a process."""
    monkeypatch.setattr(module, "config_root", lambda: tmp_path)
    code_version.cache_clear()
    yield tmp_path
    code_version.cache_clear()


def git(folder: Path, *arguments: str) -> str:
    """Run git in a folder, as somebody."""
    somebody = ("-c", "user.name=N", "-c", "user.email=n@example.org")
    command = ["git", "-C", str(folder), *somebody, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_without_a_checkout_it_is_that_of_the_package(folder: Path) -> None:
    assert code_version() == __version__


def test_a_checkout_without_a_commit_has_no_more(folder: Path) -> None:
    git(folder, "init", "--quiet")
    assert code_version() == __version__


@pytest.mark.parametrize("changed", [False, True])
def test_a_commit_is_named_and_changes_are_marked(folder: Path, changed: bool) -> None:
    git(folder, "init", "--quiet")
    (folder / "file").write_text("old")
    git(folder, "add", "file")
    git(folder, "commit", "--quiet", "--message", "first")
    if changed:
        (folder / "file").write_text("new")
    commit = git(folder, "rev-parse", "--short", "HEAD")
    assert code_version() == f"{__version__}+{commit}{'-dirty' if changed else ''}"
