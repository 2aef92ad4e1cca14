"""Progress on a terminal and in a pipe."""

import io
import time

import pytest
from rich.console import Console

from headsweep import terminal as module
from headsweep.terminal import State, duration, following, preparing


@pytest.mark.parametrize("terminal", [True, False])
def test_following(terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LINE_SECONDS", 0.05)
    monkeypatch.setattr(module, "POLL_SECONDS", 0.05)
    out = io.StringIO()
    state = State("1 of 2 members done", 0.5, ["run: step 50 of 100"])
    with following(lambda: state, Console(file=out, force_terminal=terminal, width=120)):
        time.sleep(0.3)
    assert state.summary in out.getvalue()
    assert ("\x1b" in out.getvalue()) is terminal


def test_lines_are_few_in_a_pipe() -> None:
    out = io.StringIO()
    with preparing(Console(file=out, force_terminal=False)) as report:
        for step in range(100):
            report("features", step / 100)
        report("MLflow", 1.0)
    assert out.getvalue() == "features: 0%\nMLflow: 100%\n"


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.4, "0 s"), (99, "99 s"), (240, "4 min"), (7200, "2.0 h")]
)
def test_duration(seconds: float, words: str) -> None:
    assert duration(seconds) == words
