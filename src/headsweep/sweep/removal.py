"""Questions before a sweep is removed with its results."""

import sys
from pathlib import Path

from headsweep.errors import UserError
from headsweep.store.cleanup import find_sweep, summarise
from headsweep.sweep.leases import alive
from headsweep.terminal import file_size


def check_removal(root: Path, name: str, yes: bool, force: bool) -> None:
    """Refuse to remove a sweep that is being trained, or whose removal nobody agrees to.

    Args:
        root: The folder of all output.
        name: Name of the sweep.
        yes: The user has agreed; else the terminal is asked.
        force: Remove it even while it is trained.

    Raises:
        UserError: It must stay.
    """
    folder = find_sweep(root, name)
    holders = alive(folder)
    if holders and not force:
        raise UserError(
            f"clean: {folder} is being trained ({'; '.join(map(str, holders))}); end that first, "
            "or remove it all the same with --force"
        )
    found = summarise(folder)
    what = f"{folder}: {found.jobs} jobs, {found.finished} results, {file_size(found.bytes)}"
    if yes:
        return
    if sys.stdin is None or not sys.stdin.isatty():
        raise UserError(f"{what}; they would be gone for ever: if you mean that, add --yes")
    if input(f"{what}; remove them for ever? [y/N] ").strip().lower() not in ("y", "yes"):
        raise UserError("nothing was removed")
