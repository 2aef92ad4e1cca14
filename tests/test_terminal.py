"""Progress and tables on a terminal and in a pipe, and numbers in words."""

import io
import time

import pytest

from headsweep import terminal as module
from headsweep.terminal import (
    State,
    duration,
    file_size,
    following,
    plain_console,
    preparing,
    print_table,
)


@pytest.mark.parametrize("terminal", [True, False])
def test_following(terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LINE_SECONDS", 0.05)
    monkeypatch.setattr(module, "POLL_SECONDS", 0.05)
    out = io.StringIO()
    state = State("1 of 2 members done", 0.5, ["run: step 50 of 100"])
    with following(lambda: state, plain_console(out, 120, terminal)):
        time.sleep(0.3)
    assert state.summary in out.getvalue()
    assert ("\x1b" in out.getvalue()) is terminal


def test_lines_are_few_in_a_pipe() -> None:
    out = io.StringIO()
    with preparing(plain_console(out, terminal=False)) as report:
        for step in range(100):
            report("features", step / 100)
        report("MLflow", 1.0)
    assert out.getvalue() == "features: 0%\nMLflow: 100%\n"


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.4, "0 s"), (99, "99 s"), (240, "4 min"), (7200, "2.0 h")]
)
def test_duration(seconds: float, words: str) -> None:
    assert duration(seconds) == words


@pytest.mark.parametrize(
    ("count", "words"), [(0, "0 B"), (999, "999 B"), (3_210_000, "3.21 MB"), (5e12, "5e+03 GB")]
)
def test_file_size(count: float, words: str) -> None:
    assert file_size(count) == words


def test_tables_are_not_folded_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["name", "size"], [["a", "1"], ["b" * 60, "20"]])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines] == [["name", "size"], ["a", "1"], ["b" * 60, "20"]]
    assert lines[1].rstrip().endswith(" 1")
    assert len({len(line.rstrip()) for line in lines}) == 1  # numbers are to the right


def test_text_is_shown_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    """Brackets are no markup, and colons no emoji: in tables, lines and progress bars."""
    text = "pooling.statistics=[avg] [bold]x[/] [/] :smile: \\[a]"
    print_table(["job", "[a] :dog:"], [["0", text]], words=(0, 1))
    out = io.StringIO()
    terminal = plain_console(out, 120, terminal=True)
    with following(lambda: State(text, 0.5, [text]), terminal):
        time.sleep(0.05)
    with preparing(terminal) as report:
        report(text, 0.5)
        time.sleep(0.15)
    terminal.print(text)
    assert text in capsys.readouterr().out
    assert out.getvalue().count(text) >= 4
