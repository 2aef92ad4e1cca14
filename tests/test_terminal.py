"""Progress and tables on a terminal and in a pipe, and numbers in words."""

import io
import time

import pytest

from headsweep import terminal as module
from headsweep.terminal import (
    State,
    TimeLeft,
    duration,
    file_size,
    following,
    plain_console,
    preparing,
    print_table,
)
from helpers.waiting import wait_for


@pytest.mark.parametrize("terminal", [True, False])
def test_following(terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LINE_SECONDS", 0.05)
    monkeypatch.setattr(module, "WAITING_SECONDS", 0.05)
    monkeypatch.setattr(module, "POLL_SECONDS", 0.05)
    out = io.StringIO()
    state = State("1 of 2 members done", 0.5, ["run: step 50 of 100"])
    with following(lambda: state, plain_console(out, 120, terminal)):
        time.sleep(0.3)
    assert state.summary in out.getvalue()
    assert ("\x1b" in out.getvalue()) is terminal


@pytest.mark.parametrize("terminal", [True, False])
def test_for_whom_one_waits_is_said_at_once(
    terminal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WAITING_SECONDS", 0.01)
    monkeypatch.setattr(module, "POLL_SECONDS", 0.01)
    out = io.StringIO()
    words = "job 1 waits: process 7 (stopped); let it go on: kill -CONT 7"
    waiting, looks = [words], 0

    def look() -> State:
        nonlocal looks
        looks += 1
        return State("1 of 2 members done", 0.5, [], waiting)

    with following(look, plain_console(out, 120, terminal)):
        wait_for(lambda: looks > 5)
        if not terminal:
            assert out.getvalue() == f"{words}\n"
            waiting.clear()
            wait_for(lambda count=looks: looks > count + 2)
            waiting.append(words)  # once more
            wait_for(lambda: out.getvalue() == f"{words}\n{words}\n")
    assert words in out.getvalue()


def test_lines_are_few_in_a_pipe() -> None:
    out = io.StringIO()
    with preparing(plain_console(out, terminal=False)) as report:
        for step in range(100):
            report("features", step / 100)
        report("MLflow", 1.0)
    assert out.getvalue() == "features: 0%\nMLflow: 100%\n"


def test_a_slow_start_does_not_count_as_pace() -> None:
    left = TimeLeft()
    assert [left.seconds(0.0, now) for now in (0.0, 10.0, 30.0)] == [None] * 3
    assert left.seconds(0.02, 31.0) is None  # the first move
    assert left.seconds(0.05, 34.0) is None  # too short to tell
    # 1% a second from 31 s on: 88 s more, where 0.12 in 41 s from the start would say 300.
    assert left.seconds(0.12, 41.0) == pytest.approx(88.0)


def test_what_was_there_before_is_no_pace() -> None:
    left = TimeLeft()
    assert left.seconds(0.8, 0.0) is None
    assert left.seconds(0.8, 20.0) is None
    assert left.seconds(0.805, 21.0) is None
    assert left.seconds(0.812, 100.0) is None  # less than 1% gained
    assert left.seconds(0.905, 121.0) == pytest.approx(95.0)


def test_a_pipe_says_why_nothing_moves_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LINE_SECONDS", 0.02)
    out = io.StringIO()
    state = State("0 of 2 jobs", 0.0, ["workers start"])
    with following(lambda: state, plain_console(out, 120, terminal=False)):
        wait_for(lambda: "0 of 2 jobs, 0%, workers start" in out.getvalue())


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
