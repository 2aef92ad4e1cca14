"""Ledger of the looks at a sweep, ``looks.json``: each report of verdicts on new members.

On test each report of new members is one, as nothing may be chosen by what it shows.

Verdicts that are read again with more seeds err more often than in 5%, which ``stats.sequential``
corrects. The ledger stands in the sweep's folder and goes with it.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headsweep.errors import DamagedError
from headsweep.files import locked, read_sealed, write_sealed
from headsweep.store import paths


@dataclass(frozen=True)
class SeenArm:
    """One configuration at a look.

    Attributes:
        label: Its name in the report.
        n: Seeds, or blocks of a cross-validation, that were trained; 0 or 1 without a spread.
        planned: The same with those that are still to be trained.
        members: Hash of the trained members.
    """

    label: str
    n: int
    planned: int
    members: str


@dataclass(frozen=True)
class Look:
    """One look at the verdicts of a sweep.

    Attributes:
        time: When, in UTC.
        design: Kind, metrics and split of the comparison.
        arms: The configurations with verdicts, on test all with a figure, by the number of their
            first job.
    """

    time: str
    design: Mapping[str, Any]
    arms: Mapping[str, SeenArm]


def read(folder: Path) -> list[Look]:
    """All looks at a sweep, oldest first.

    Args:
        folder: Of the sweep.

    Raises:
        DamagedError: The ledger is not what was written.
    """
    path = folder / paths.LOOKS
    try:
        stored = read_sealed(path) or {"looks": []}
    except DamagedError as error:
        raise DamagedError(
            f"{path}: damaged, its checksum does not match; bring it back from a copy. Without it "
            "nobody knows how often these verdicts were read: move it away and say so"
        ) from error
    return [
        Look(
            look["time"],
            look["design"],
            {number: SeenArm(**arm) for number, arm in look["arms"].items()},
        )
        for look in stored["looks"]
    ]


def record(folder: Path, look: Look) -> None:
    """Add a look to the ledger of a sweep, unless the same members were looked at before.

    Raises:
        UserError: The ledger is damaged, or cannot be written.
    """
    with locked(folder / f".{paths.LOOKS}.lock"):
        before = read(folder)
        if all(old.arms != look.arms for old in before):
            every = [dataclasses.asdict(one) for one in (*before, look)]
            write_sealed(folder / paths.LOOKS, {"looks": every})
