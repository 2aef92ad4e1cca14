"""Storage of a search: Optuna's journal file in the sweep's folder, or a database.

All calls are made while the sweep's lock is held (sweep/leases.py), so what another process of
ours has left unfinished can only be what a kill or a full disk has cut off.
"""

import logging
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from filelock import FileLock
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import BaseJournalBackend, JournalFileBackend

from headsweep.errors import UserError

FILE = "journal.log"
"""File name of the journal in a sweep's folder."""

FOREIGN_SECONDS = 0.2
"""Time that another program, such as optuna-dashboard, may hold the journal's own lock."""

CREATION_SECONDS = 0.2
"""Pause before another attempt to open a database whose tables are being created."""

log = logging.getLogger(__name__)


class _Journal(BaseJournalBackend):
    """Optuna's journal file; what is written within ``together`` reaches the disk at once.

    A trial's end is some hundred records, and each would wait for the disk.
    """

    def __init__(self, path: Path) -> None:
        self._file = JournalFileBackend(str(path))
        self._held: list[dict[str, Any]] | None = None

    def read_logs(self, log_number_from: int) -> Iterable[dict[str, Any]]:
        """Records from a number on; none while they are held back."""
        return () if self._held is not None else self._file.read_logs(log_number_from)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Write records, or hold them back."""
        if self._held is not None:
            self._held += logs
        else:
            self._file.append_logs(logs)

    @contextmanager
    def together(self) -> Iterator[None]:
        """Write all records of a block in one piece; none of them where it fails."""
        self._held = []
        try:
            yield
            held = self._held
        finally:
            self._held = None
        self._file.append_logs(held)


class Storage:
    """The storage of one search.

    Args:
        sweep: The sweep's folder.
        url: Of a database, as SQLAlchemy takes it; None for the journal file.
        root: The folder of all output.

    Raises:
        UserError: The database cannot be opened.
    """

    def __init__(self, sweep: Path, url: str | None, root: Path) -> None:
        self.path = sweep / FILE
        self.optuna: BaseStorage
        self._journal: _Journal | None = None
        if url is None:
            self.repair()
            self._journal = _Journal(self.path)
            self.optuna = JournalStorage(self._journal)
        else:
            self.optuna = open_database(url, root)

    def together(self) -> AbstractContextManager[None]:
        """Within this block, write to the journal once."""
        return nullcontext() if self._journal is None else self._journal.together()

    def repair(self) -> None:
        """Cut off an unfinished last line, and remove the lock of a dead owner."""
        lock = self.path.with_name(f"{self.path.name}.lock")
        if lock.is_symlink():
            time.sleep(FOREIGN_SECONDS)
            if lock.is_symlink():
                lock.unlink(missing_ok=True)
                log.warning("%s: the lock of a dead process was removed", lock)
        if self.path.exists():
            with open(self.path, "r+b") as file:
                _cut_torn_line(file, self.path)


def open_database(url: str, root: Path) -> BaseStorage:
    """Open a database, whose tables are made where they are missing.

    Args:
        url: As SQLAlchemy takes it.
        root: The folder of all output.

    Raises:
        UserError: It cannot be opened.
    """
    # Two searches that begin at once would both create the tables of a new database.
    with FileLock(root / ".storage.lock"):
        return _open(url)


def _cut_torn_line(file: Any, path: Path) -> None:
    size = file.seek(0, os.SEEK_END)
    if size == 0:
        return
    file.seek(-1, os.SEEK_END)
    if file.read(1) == b"\n":
        return
    file.seek(0)
    whole = file.read().rfind(b"\n") + 1
    file.truncate(whole)
    os.fsync(file.fileno())
    log.warning("%s: %d bytes of an unfinished last line were cut off", path, size - whole)


def _open(url: str, attempts: int = 10) -> BaseStorage:
    from sqlalchemy.exc import IntegrityError, ProgrammingError, SQLAlchemyError

    try:
        return RDBStorage(url)
    except (SQLAlchemyError, ImportError, ValueError) as error:
        if isinstance(error, IntegrityError | ProgrammingError) and attempts > 1:
            time.sleep(CREATION_SECONDS)  # another root's search creates the same tables
            return _open(url, attempts - 1)
        first = str(error).strip().splitlines()[0]
        raise UserError(f"hydra.sweeper.storage: cannot be opened ({first})") from error
