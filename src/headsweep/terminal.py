"""Output on the terminal: progress bars, tables, and durations and sizes in words."""

import sys
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO, Literal

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
from rich.table import Table
from rich.text import Text

POLL_SECONDS = 0.5
"""Seconds between two looks at the progress, for a bar."""

PIPE_WIDTH = 160
"""Columns of what is not a terminal."""

PACE_SECONDS, PACE_SHARE = 5.0, 0.01
"""Least time and least share of the work from which the time that is left can be told."""

LINE_SECONDS = 10.0
"""Seconds between two lines where the output is not a terminal."""

WAITING_SECONDS = 2.0
"""Seconds between two looks there for a process that has to be waited for."""


def console(stderr: bool = False) -> Console:
    """Console of the standard output; into a pipe it is wide, where rich takes 80 columns.

    Text is shown as it is: what stands in brackets or colons is no markup and no emoji.
    """
    stream = sys.stderr if stderr else sys.stdout
    return plain_console(stream, None if stream.isatty() else PIPE_WIDTH)


def plain_console(file: IO[str], width: int | None = None, terminal: bool | None = None) -> Console:
    """The only console that is used, on any file.

    Args:
        file: Where to write.
        width: Columns; None for those of the terminal.
        terminal: Whether it is one; None to find out.
    """
    return Console(
        file=file,
        width=width,
        force_terminal=terminal,
        markup=False,
        emoji=False,
        highlight=False,
    )


@dataclass(frozen=True)
class State:
    """State of a training or a sweep, for its progress bar.

    Attributes:
        summary: The counts as words.
        share: Share of the whole work, in [0, 1].
        running: A line for each job at work.
        waiting: A line for each process that all this waits for until somebody does something.
    """

    summary: str
    share: float
    running: list[str]
    waiting: list[str] = field(default_factory=list)


class TimeLeft:
    """Time that is left, from the pace since the work first moved: a start of 30 s is no pace.

    Nothing is said before the pace rests on ``PACE_SECONDS`` and ``PACE_SHARE`` of the work.
    """

    def __init__(self) -> None:
        self._first: float | None = None
        self._since: tuple[float, float] | None = None

    def seconds(self, share: float, now: float) -> float | None:
        """Take a look at the work; the seconds that are left, or None where they are not known.

        Args:
            share: Of the work that is done, in [0, 1].
            now: Time in seconds, from any beginning.
        """
        if self._first is None:
            self._first = share
        if self._since is None:
            self._since = (now, share) if share > self._first else None
            return None
        passed, gained = now - self._since[0], share - self._since[1]
        if passed < PACE_SECONDS or gained < PACE_SHARE:
            return None
        return passed * (1 - share) / gained

    def words(self, share: float) -> str:
        """The same as words; empty where it is not known."""
        left = self.seconds(share, time.monotonic())
        return "" if left is None else f"{duration(left)} left"


@contextmanager
def following(look: Callable[[], State], console: Console) -> Iterator[None]:
    """Progress bar of some work until the block ends, drawn by a thread of its own."""
    stop = threading.Event()
    show = _show_bar if console.is_terminal else _show_lines
    thread = threading.Thread(target=show, args=(look, console, stop), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _show_bar(look: Callable[[], State], console: Console, stop: threading.Event) -> None:
    progress = _bar(console)
    task = progress.add_task("", total=1.0, left="")
    left = TimeLeft()
    with Live(console=console, transient=True) as live:
        while not stop.is_set():
            state = look()
            words = left.words(state.share)
            progress.update(task, description=state.summary, completed=state.share, left=words)
            lines = [*state.running, *state.waiting]
            live.update(Group(progress, *(Text(f"  {line}") for line in lines)))
            stop.wait(POLL_SECONDS)


def _show_lines(look: Callable[[], State], console: Console, stop: threading.Event) -> None:
    left, first = TimeLeft(), look().share
    left.words(first)
    printed, said = time.monotonic(), set[str]()
    while not stop.wait(WAITING_SECONDS):
        state = look()
        for line in state.waiting:
            if line not in said:
                _print(console, line)
        said = {*state.waiting}
        if time.monotonic() - printed < LINE_SECONDS:
            continue
        printed = time.monotonic()
        more = state.running[:1] if state.share == first else [left.words(state.share)]
        _print(console, ", ".join(filter(None, [state.summary, f"{state.share:.0%}", *more])))


@contextmanager
def preparing(console: Console) -> Iterator[Callable[[str, float], None]]:
    """Progress bar of several pieces of work; yields a call with a text and the share done."""
    if console.is_terminal:
        with _bar(console, transient=True) as progress:
            task, left, piece = progress.add_task("", total=1.0, left=""), TimeLeft(), ""

            def show(text: str, share: float) -> None:
                nonlocal left, piece
                if text.partition(",")[0] != piece:  # behind a comma stands how it goes
                    left, piece = TimeLeft(), text.partition(",")[0]
                words = left.words(share)
                progress.update(task, description=text, completed=share, left=words)

            yield show
    else:
        shown = ("", -LINE_SECONDS)

        def report(text: str, share: float) -> None:
            nonlocal shown
            now = time.monotonic()
            if text != shown[0] or now - shown[1] >= LINE_SECONDS:
                shown = (text, now)
                _print(console, f"{text}: {share:.0%}")

        yield report


def print_table(
    columns: Sequence[str], rows: Iterable[Sequence[str]], words: Collection[int] = (0,)
) -> None:
    """Print a table without lines.

    Args:
        columns: Heads.
        rows: Cells.
        words: Columns of words, which are to the left; numbers are to the right.
    """
    table = Table(box=None)
    for number, column in enumerate(columns):
        justify: Literal["left", "right"] = "left" if number in words else "right"
        table.add_column(column, justify=justify, no_wrap=number == 0)
    for row in rows:
        table.add_row(*row)
    console().print(table)


def duration(seconds: float) -> str:
    """Seconds as words: ``40 s``, ``4 min``, ``1.5 h``."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def file_size(count: float) -> str:
    """Bytes as words: ``3.2 MB``."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"


def _print(console: Console, text: str) -> None:
    console.print(text)


def _bar(console: Console, transient: bool = False) -> Progress:
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[left]}", markup=False),
    )
    return Progress(*columns, console=console, transient=transient)
