"""Storage of a search: Optuna's journal file in the sweep's folder, or a database.

All calls are made while the sweep's lock is held (sweep/leases.py), so what another process of
ours has left unfinished can only be what a kill or a full disk has cut off.
"""

import json
import logging
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import BaseJournalBackend, JournalFileBackend
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial

from headsweep.errors import UserError, reason
from headsweep.files import locked, write_atomic
from headsweep.store.paths import JOURNAL, ROOT_ID, SWEEPS
from headsweep.store.runs import root_id

ROOT = "headsweep root"
"""Attribute of a study in a database: the folder of all output whose search it is."""

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


class _Memory(BaseJournalBackend):
    """A journal in memory, from which a file is written at once."""

    def __init__(self) -> None:
        self.logs: list[dict[str, Any]] = []

    def read_logs(self, log_number_from: int) -> Iterable[dict[str, Any]]:
        """Records from a number on."""
        return self.logs[log_number_from:]

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Add records, as a file would give them back."""
        self.logs += json.loads(json.dumps(logs))


class Storage:
    """The storage of one search, with its study.

    Args:
        sweep: The sweep's folder.
        url: Of a database, as SQLAlchemy takes it; None for the journal file.
        root: The folder of all output.
        directions: ``minimize`` or ``maximize`` for each objective.

    Attributes:
        optuna: Optuna's own storage.
        study: Identifier of the study in it.
        damage: Reason why the journal cannot be read; None where it can.

    Raises:
        UserError: The database cannot be opened, or holds the search of another root.
    """

    optuna: BaseStorage

    def __init__(
        self, sweep: Path, url: str | None, root: Path, directions: Sequence[str] = ("minimize",)
    ) -> None:
        self.path, self._root = sweep / JOURNAL, root
        self._directions = [StudyDirection[direction.upper()] for direction in directions]
        self.study = -1
        self.damage: str | None = None
        self._journal: _Journal | None = None
        self._head = b""
        self._database = url is not None
        if url is None:
            self._name = sweep.name
        else:
            self._name = f"{sweep.name} {root_id(root)}"  # others may keep their searches there too
            self.optuna = open_database(url, root)
        self.repair()

    def __str__(self) -> str:
        return f"study {self._name} of the database" if self._database else str(self.path)

    def together(self) -> AbstractContextManager[None]:
        """Within this block, write to the journal once."""
        return nullcontext() if self._journal is None else self._journal.together()

    def trials(self) -> list[FrozenTrial]:
        """All trials that have begun, by number; none of a journal that cannot be read."""
        if self.damage is not None:
            return []
        return self.optuna.get_all_trials(self.study, deepcopy=False)

    def repair(self) -> bool:
        """Cut off an unfinished last line, and remove the lock of a dead owner.

        Returns:
            True where the storage is another one than at the last look, and was opened again.
        """
        lock = self.path.with_name(f"{self.path.name}.lock")
        if lock.is_symlink():
            time.sleep(FOREIGN_SECONDS)
            if lock.is_symlink():
                lock.unlink(missing_ok=True)
                log.warning("%s: the lock of a dead process was removed", lock)
        if self.path.exists():
            with open(self.path, "r+b") as file:
                _cut_torn_line(file, self.path)
        return self._find_study() if self._database else self._find_journal()

    def renew(self, trials: Sequence[FrozenTrial]) -> None:
        """Write the storage anew.

        Args:
            trials: All that it shall hold, by number.
        """
        if self._database:
            self.optuna.delete_study(self.study)
            self._find_study()
            for trial in trials:
                self.optuna.create_new_trial(self.study, trial)
            return
        memory = _Memory()
        storage = JournalStorage(memory)
        study = storage.create_new_study(self._directions, self._name)
        for trial in trials:
            storage.create_new_trial(study, trial)
        lines = [json.dumps(record, separators=(",", ":")) + "\n" for record in memory.logs]
        write_atomic(self.path, "".join(lines).encode())
        self._open_journal()

    def _find_journal(self) -> bool:
        """Open the journal where it is another file than at the last look, or none."""
        if self._journal is not None and self._head == _head(self.path):
            return False
        self._open_journal()
        return True

    def _open_journal(self) -> None:
        self._journal, self.damage = _Journal(self.path), None
        try:
            self.optuna = JournalStorage(self._journal)
            studies = self.optuna.get_all_studies()
            if not studies:
                self.study = self.optuna.create_new_study(self._directions, self._name)
            elif [(s.study_name, s.directions) for s in studies] == [
                (self._name, self._directions)
            ]:
                self.study = studies[0]._study_id
            else:
                self.damage = "its study has another name or other objectives"
        except Exception as error:  # of Optuna, about any line
            self.damage = f"it cannot be read ({reason(error)})"
        self._head = _head(self.path)

    def _find_study(self) -> bool:
        """Find the study in a database, or make it; True for another one than at the last look."""
        with suppress(KeyError):
            if self.study == self.optuna.get_study_id_from_name(self._name):
                return False
        here = str(self._root.resolve())
        found = optuna.create_study(
            storage=self.optuna,
            study_name=self._name,
            directions=self._directions,
            load_if_exists=True,
        )
        there = found.user_attrs.get(ROOT)
        if there not in (None, here) and (Path(there) / SWEEPS / self.path.parent.name).exists():
            raise UserError(
                f"hydra.sweeper.storage: the database has this search for {there}, of which {here} "
                f"is a copy; remove {self._root / ROOT_ID}, which makes it a root of its own"
            )
        if there != here:
            found.set_user_attr(ROOT, here)
        self.study = found._study_id
        return True


def open_database(url: str, root: Path) -> BaseStorage:
    """Open a database, whose tables are made where they are missing.

    Args:
        url: As SQLAlchemy takes it.
        root: The folder of all output.

    Raises:
        UserError: It cannot be opened.
    """
    # Two searches that begin at once would both create the tables of a new database.
    with locked(root / ".storage.lock"):
        return _open(url)


def _head(path: Path) -> bytes:
    """First line of a journal, which no other one has: it names who began it."""
    try:
        with path.open("rb") as file:
            return file.readline()
    except FileNotFoundError:
        return b""


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
