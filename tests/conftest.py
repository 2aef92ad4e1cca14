"""What tests of the command line share."""

import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from headsweep import cli

Command = Callable[..., tuple[int, str, str]]


def pytest_addoption(parser: pytest.Parser) -> None:
    """What ``make screenshots`` gives to ``tests/test_browser.py``."""
    parser.addoption("--runs", type=Path, help="root with a sweep `presets`, to be shown")
    parser.addoption("--pictures", type=Path, help="where to write pictures of the pages")


@pytest.fixture
def command(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> Iterator[Command]:
    """Runs ``headsweep`` in this process, in an empty folder: exit code, stdout, stderr."""
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
