"""Options, order and fixtures that tests of several packages share."""

import logging
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from headsweep import cli
from headsweep.store.tracking import database

# Before torch is imported: there are as many test processes as cores, and commands inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# In a shell's background it is ignored, and would be in all commands that tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)

# The same examples in every run, so that a change is judged by what it changed; other ones are
# looked for with HYPOTHESIS_PROFILE=explore.
settings.register_profile("fixed", derandomize=True, deadline=None)
settings.register_profile("explore", deadline=None, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fixed"))

Command = Callable[..., tuple[int, str, str]]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of ``make screenshots`` for ``tests/system/test_browser.py``."""
    parser.addoption("--runs", type=Path, help="root with a sweep `presets`, to be shown")
    parser.addoption("--pictures", type=Path, help="where to write pictures of the pages")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest modules, so that no test process is left with one alone."""
    items.sort(
        key=lambda item: (not item.get_closest_marker("slow"), "system" not in item.path.parts)
    )


@pytest.fixture
def command(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> Iterator[Command]:
    """A call of ``headsweep`` in this process, in an empty folder: exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")  # the command sets it; this takes it back

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["headsweep", *arguments])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        out, err = capfd.readouterr()
        return int(caught.value.code or 0), out, err

    yield run
    logging.disable(logging.NOTSET)


@pytest.fixture
def working_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands train in this process, without workers; see ``helpers.command.work_here``."""
    from helpers.command import work_here

    work_here(monkeypatch)


@pytest.fixture(autouse=True, scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """MLflow makes one empty database in this process, which takes a second; others are copies."""
    kept = tmp_path_factory.mktemp("empty") / "mlflow.db"
    prepare = database.prepare

    def prepare_copy(root: Path, make: Callable[[str], object], seconds: float) -> None:
        def copied(uri: str) -> None:
            if not kept.exists():
                make(f"sqlite:///{kept}")
            shutil.copyfile(kept, uri.removeprefix("sqlite:///"))

        prepare(root, copied, seconds)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(database, "prepare", prepare_copy)
        yield
