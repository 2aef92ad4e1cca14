"""Ledger of the test split, ``root/test_ledger.jsonl``: a line for every reading of a sample.

The sample is for judging configurations that were chosen without it. The ledger shows whoever reads
it again, or chooses by its figures.
"""

import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from headsweep.errors import reading
from headsweep.files import locked
from headsweep.store.paths import LEDGER


@dataclass(frozen=True)
class Reading:
    """One reading of the test split, a line of the ledger.

    Attributes:
        time: Time of the reading, in UTC.
        sweep: Name of the sweep that was reported.
        samples: Keys of the samples that were read.
        configurations: Labels of the configurations that were scored.
        code_version: Of headsweep.
    """

    time: str
    sweep: str
    samples: list[str]
    configurations: list[str]
    code_version: str


@dataclass(frozen=True)
class Readings:
    """Samples that a report reads of the test split, with all earlier readings of them.

    Attributes:
        samples: Descriptions of the samples, by key.
        before: Earlier readings of any of these samples, oldest first.
    """

    samples: dict[str, str]
    before: list[Reading]

    def words(self) -> str:
        """Number of earlier readings with their sweeps: ``read 2x before (presets 2x)``."""
        sweeps = Counter(reading.sweep for reading in self.before)
        by = ", ".join(f"{name} {count}x" for name, count in sweeps.items())
        return f"read {len(self.before)}x before ({by})" if by else "never read before"

    def note(self) -> str:
        """Samples and earlier readings as a sentence."""
        what = ", ".join(f"{words} (key {key})" for key, words in self.samples.items())
        return (
            f"Test: {what}, {self.words()}; {LEDGER} lists every reading. What is chosen by these "
            "figures needs another sample to be judged on."
        )


def record(
    root: Path,
    sweep: str,
    samples: Mapping[str, str],
    configurations: Sequence[str],
    version: str,
) -> Readings:
    """Write a reading into the ledger, before the sample is read.

    Args:
        root: The folder of all output.
        sweep: Name of the sweep.
        samples: Descriptions of the samples to be read, by key.
        configurations: Labels of the configurations to be scored.
        version: Of the code.

    Returns:
        The samples with their earlier readings.

    Raises:
        UserError: A line of the ledger is damaged.
    """
    path, now = root / LEDGER, datetime.now(UTC).isoformat(timespec="seconds")
    reading = Reading(now, sweep, [*samples], list(configurations), version)
    with locked(root / f".{LEDGER}.lock"):
        before = read_all(root)
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(reading)) + "\n")
            file.flush()
            os.fsync(file.fileno())
    same = [old for old in before if not samples.keys().isdisjoint(old.samples)]
    return Readings(dict(samples), same)


def read_all(root: Path) -> list[Reading]:
    """All readings below a root, oldest first.

    Raises:
        UserError: A line of the ledger is damaged.
    """
    path = root / LEDGER
    if not path.exists():
        return []
    with reading(path, "mend it; it is the only record of who has seen the test split"):
        lines = path.read_text(encoding="utf-8").splitlines()
    found = []
    for number, line in enumerate(lines, start=1):
        with reading(f"{path}, line {number}", "mend this line"):
            found.append(Reading(**json.loads(line)))
    return found
