"""Names of sweeps: one rule for what may be a folder's name, on any disk and in any shell."""

import re
import unicodedata
from itertools import count
from pathlib import Path

from headsweep.errors import UserError
from headsweep.store import paths

LONGEST = 60
"""Most characters of a name: 240 bytes at most, of the 255 that a folder's name may have."""

RULE = (
    "a name has letters, digits, '_', '-' and '.', begins with a letter, a digit or '_', does not "
    f"end with '.', and has at most {LONGEST} characters"
)

_TAKEN = (
    *(paths.SWEEPS, paths.RUNS, paths.JOBS, paths.ATTEMPTS, paths.LEASES, paths.LOGS),
    paths.REPORT,
)
"""Folders of headsweep itself: as names of sweeps their paths would be read as something else."""

_RUN_KEY = re.compile("[0-9a-f]{16}")


def is_name(text: str) -> bool:
    """True for what follows ``RULE``; accents are one character with their letter (NFC)."""
    return text == _nearest(text)


def check_spelling(key: str, name: str) -> None:
    """Refuse what cannot be a name of anything.

    Args:
        key: Key that gives it, for the message.
        name: The name.

    Raises:
        UserError: It cannot be; the message states the rule and the nearest name that can.
    """
    if not name:
        raise UserError(f"{key}=: is empty; leave {key} out, or give a name; {RULE}")
    if not is_name(name):
        shown = name if name.isprintable() else ascii(name)
        if len(shown) > LONGEST:
            shown = f"{shown[:LONGEST]}.."
        raise UserError(f"{key}={shown}: {RULE}; the nearest is {key}={_nearest(name)}")


def check_name(key: str, name: str) -> None:
    """Refuse what cannot be the name of a sweep.

    Raises:
        UserError: As ``check_spelling``, or the name means something else below a root.
    """
    is_key = _RUN_KEY.fullmatch(name) is not None
    if is_key or name.lower() in _TAKEN:
        whose = "looks like the key of a single run" if is_key else "is a folder of headsweep"
        raise UserError(f"{key}={name}: {whose}; take another name, such as {key}={name}-2")
    check_spelling(key, name)


def check_alike(root: Path, name: str) -> None:
    """Refuse a new name that a disk may take for that of a sweep which is there.

    Raises:
        UserError: It differs only in upper and lower case or in variants of letters.
    """
    known = [path.name for path in paths.sweep_folders(root)]
    alike = [other for other in known if _folded(other) == _folded(name)]
    if alike and name not in known:
        raise UserError(
            f"name={name}: differs from the sweep {alike[0]} in {root} only in upper and lower "
            f"case or in variants of letters, which some disks do not tell apart; go on with that "
            f"one, name={alike[0]}, or take name={free_name(root, name)}"
        )


def free_name(root: Path, name: str) -> str:
    """A name like another that no sweep below a root has: ``mine-2``, or with a later number."""
    known = {_folded(path.name) for path in paths.sweep_folders(root)}
    candidates = (f"{name[: LONGEST - len(end)]}{end}" for n in count(2) if (end := f"-{n}"))
    return next(one for one in candidates if _folded(one) not in known)


def _nearest(text: str) -> str:
    """The text with all that no name has replaced; ``sweep`` where nothing is left."""
    kept = (c if _is_allowed(c) else "_" for c in unicodedata.normalize("NFC", text))
    name = "".join(kept)
    while name and (name[0] in "-." or unicodedata.category(name[0])[0] == "M"):
        name = name[1:]  # a mark without its letter is no beginning
    return name[:LONGEST].rstrip(".") or "sweep"


def _is_allowed(character: str) -> bool:
    """True for letters with their marks and digits of any language, and three signs."""
    return character in "_-." or unicodedata.category(character)[0] in "LMN"


def _folded(name: str) -> str:
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
