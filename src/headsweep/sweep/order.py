"""Order of a sweep command to its workers: what to work on, and how they answer."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from headsweep.sweep.grid_queue import Entry
from headsweep.sweep.leases import Process

FATAL, STOPPED = 2, 3
"""Exit codes of a worker: no worker can do this work; this one was asked to stop."""


@dataclass(frozen=True)
class Order:
    """A line of JSON on the standard input of each worker.

    Attributes:
        overrides: Those of the command line, from which a worker composes the sweep again.
        config_dir: The user's own folder of configuration, or None.
        folder: The sweep's folder.
        entries: The jobs of a grid; None for a search.
        command: The process of the sweep command.
        first: Of a search, the first trials of its specification (``rules.Given``).
    """

    overrides: list[str]
    config_dir: str | None
    folder: Path
    entries: list[Entry] | None
    command: Process
    first: list[dict[str, Any]] = field(default_factory=list)

    def to_json(self) -> str:
        """The order as one line."""
        return json.dumps({**asdict(self), "folder": str(self.folder)})

    @classmethod
    def from_json(cls, line: str) -> "Order":
        """The order that ``to_json`` wrote."""
        values: dict[str, Any] = json.loads(line)
        entries = values.pop("entries")
        return cls(
            folder=Path(values.pop("folder")),
            entries=None if entries is None else [Entry(**entry) for entry in entries],
            command=Process(**values.pop("command")),
            **values,
        )
