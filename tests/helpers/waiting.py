"""Waiting for a condition, with a deadline that a slow machine keeps."""

import subprocess
import time
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")

POLL_SECONDS = 0.01


class EndedEarlyError(AssertionError):
    """A process has ended well before what was waited for."""


def wait_for(
    condition: Callable[[], T],
    process: subprocess.Popen[Any] | None = None,
    seconds: float = 180,
) -> T:
    """The first true value of a condition that is asked again and again.

    Args:
        condition: What is asked.
        process: What is to make it true; an end of it before that is an error.
        seconds: After so many it is an error, too.
    """
    end = time.monotonic() + seconds
    while not (found := condition()):
        if process is not None and (code := process.poll()) is not None:
            kind = AssertionError if code else EndedEarlyError
            raise kind(f"ended with {code}")
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(POLL_SECONDS)
    return found
