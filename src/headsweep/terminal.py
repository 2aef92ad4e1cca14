"""Terminal output: progress bars, and tables that fit."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.text import Text

POLL_SECONDS = 0.5
LINE_SECONDS = 10.0
"""Seconds between two progress lines where the output is not a terminal."""


def console(stderr: bool = False) -> Console:
    """Console to print on; in a pipe 140 columns wide, as rich would fold tables to 80."""
    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, width=None if stream.isatty() else 140)


@dataclass(frozen=True)
class State:
    """Progress of a training or a sweep.

    Attributes:
        summary: The counts as words.
        share: Share of the whole work, in [0, 1].
        running: A line for each job at work.
    """

    summary: str
    share: float
    running: list[str]


@contextmanager
def following(look: Callable[[], State], console: Console) -> Iterator[None]:
    """Show the progress of some work until the block ends, from a thread of its own."""
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
    task = progress.add_task("", total=1.0)
    with Live(console=console, transient=True) as live:
        while not stop.is_set():
            state = look()
            progress.update(task, description=state.summary, completed=state.share)
            live.update(Group(progress, *(Text(f"  {line}") for line in state.running)))
            stop.wait(POLL_SECONDS)


def _show_lines(look: Callable[[], State], console: Console, stop: threading.Event) -> None:
    since, first = time.time(), look().share
    while not stop.wait(LINE_SECONDS):
        state = look()
        gained = state.share - first
        left = (time.time() - since) * (1 - state.share) / gained if gained > 0 else None
        text = f"{state.summary}, {state.share:.0%}"
        _print(console, text if left is None else f"{text}, {duration(left)} left")


@contextmanager
def preparing(console: Console) -> Iterator[Callable[[str, float], None]]:
    """Show one piece of work after the other; yields what is told the text and the share done."""
    if console.is_terminal:
        with _bar(console, transient=True) as progress:
            task = progress.add_task("", total=1.0)
            yield lambda text, share: progress.update(task, description=text, completed=share)
    else:
        shown = ("", -LINE_SECONDS)

        def report(text: str, share: float) -> None:
            nonlocal shown
            now = time.monotonic()
            if text != shown[0] or now - shown[1] >= LINE_SECONDS:
                shown = (text, now)
                _print(console, f"{text}: {share:.0%}")

        yield report


def duration(seconds: float) -> str:
    """Seconds as words: ``40 s``, ``4 min``, ``1.5 h``."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def _print(console: Console, text: str) -> None:
    console.print(text, highlight=False, markup=False)


def _bar(console: Console, transient: bool = False) -> Progress:
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=console, transient=transient)
