"""Names of sweeps and single runs, for tab completion behind a verb."""

import os
from collections.abc import Sequence
from pathlib import Path

from headsweep.store import paths

OF_SWEEPS, OF_ALL = ("plan", "study"), ("report", "sync")
"""Verbs that take the name of a sweep, and those that also take the key of a single run."""


def names(words: Sequence[str]) -> list[str]:
    """Names that may come next.

    Args:
        words: The verb and the whole words behind it, with the root if it is given.
    """
    verb, root = words[0], paths.DEFAULT_ROOT
    for word, after in zip(words, [*words[1:], ""], strict=True):
        if word == "--root":
            root = Path(after)
        elif word.startswith(("root=", "--root=")):
            root = Path(os.path.expanduser(word.partition("=")[2]))
    if verb not in (*OF_SWEEPS, *OF_ALL) and words[-1] != "--sweep":
        return []
    runs = sorted(path.name for path in (root / paths.RUNS).glob("*") if path.is_dir())
    return [path.name for path in paths.sweep_folders(root)] + (runs if verb in OF_ALL else [])
