"""The SQLite database of MLflow below a root: a copy, which moves with its root and may be remade.

MLflow itself tries a broken file for minutes, fills missing tables with nothing, and writes where
the root was when the database was made. So it is looked at here before MLflow has it.
"""

import os
import re
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path

from headsweep.errors import UserError, reason
from headsweep.files import TEMPORARY
from headsweep.store import paths
from headsweep.store.tracking.records import REPORTED

EXPERIMENT = "headsweep"
"""The experiment of all sweeps and single runs below a root; its name begins every other's."""

TABLES = {
    *("alembic_version", "datasets", "experiment_tags", "experiments", "input_tags", "inputs"),
    *("latest_metrics", "metrics", "params", "runs", "tags"),
}
"""Tables without which MLflow shows too little, or makes them anew without a word."""

SCHEMA_WORDS = "out-of-date database schema"
"""MLflow's words for a database of an older or a newer version."""

BUSY_SECONDS = 10.0
"""Seconds to wait for another program that holds the file itself."""

_ESCAPES = re.compile(r"\?|%[0-9a-fA-F]{2}")
"""Letters of a path that mean something else in the address of a database."""

_BLOCKED = {
    *(sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_FULL),
    *(sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_PERM),
}


class TrackingError(UserError):
    """MLflow could not be written; the results in the run folders are not touched."""


class DamagedError(TrackingError):
    """The database below a root cannot be used; ``headsweep sync`` makes it anew."""


class OtherVersionError(DamagedError):
    """The database is one of another version of MLflow, which may still be in use."""


def path_of(root: Path) -> Path:
    """The file."""
    return root.resolve() / paths.DATABASE


def tracking_uri(root: Path) -> str:
    """URI of the database of all runs below a root.

    Raises:
        TrackingError: The path has letters that no such URI can have.
    """
    database = path_of(root)
    if found := _ESCAPES.search(str(database)):
        raise TrackingError(
            f"root={root}: MLflow cannot open a database below a folder with {found[0]!r} in its "
            "name; rename it, or train with tracking=false"
        )
    return f"sqlite:///{database}"


def artifacts(root: Path) -> str:
    """URI of the folder of MLflow's own copies of configurations, weights and pictures."""
    return (root.resolve() / paths.ARTIFACTS).as_uri()


def is_blocked(error: BaseException | None) -> bool:
    """True for an error of the disk or of others at work; False where the content is at fault."""
    while error is not None:
        if isinstance(error, OSError):
            return True
        code = getattr(error, "sqlite_errorcode", None)
        if code is not None:
            return code & 0xFF in _BLOCKED
        error = getattr(error, "orig", None) or error.__cause__ or error.__context__
    return False


def prepare(root: Path, make: Callable[[str], object], seconds: float) -> None:
    """Make the database where it is missing, see whether MLflow can use it, and let it follow.

    Args:
        root: The folder of all output.
        make: Called with a URI to make a database there.
        seconds: To wait for others that write.

    Raises:
        DamagedError: It is no database of MLflow.
    """
    database = path_of(root)
    tracking_uri(root)
    if not database.exists() and not database.is_symlink():
        with tempfile.TemporaryDirectory(prefix=TEMPORARY, dir=database.parent) as folder:
            new = Path(folder) / database.name
            make(f"sqlite:///{new}")
            os.replace(new, database)
    with _opened(root, seconds) as connection:
        query = "SELECT name FROM sqlite_master WHERE type = 'table'"
        missing = TABLES - {name for (name,) in connection.execute(query)}
        if missing:
            raise DamagedError(f"it has no table {', '.join(sorted(missing))}")
        _follow(connection, artifacts(root))


def _follow(connection: sqlite3.Connection, place: str) -> None:
    """Write where the artifacts are by now, in one transaction: a root may be moved or copied."""
    ours = f"lifecycle_stage IN ('active', 'deleted') AND name LIKE '{EXPERIMENT}%'"
    stale = f"FROM experiments WHERE {ours} AND artifact_location IS NOT ?"
    connection.execute("BEGIN IMMEDIATE")  # also finds out whether it can be written
    if connection.execute(f"SELECT 1 {stale}", (place,)).fetchone():
        connection.execute(
            "UPDATE runs SET artifact_uri = ? || '/' || run_uuid || '/artifacts' "
            f"WHERE experiment_id IN (SELECT experiment_id {stale})",
            (place, place),
        )
        connection.execute(
            f"UPDATE experiments SET artifact_location = ? WHERE {ours}",
            (place,),
        )
    connection.execute("COMMIT")


@contextmanager
def without_disk_waits(root: Path) -> Iterator[None]:
    """Spare SQLite below a root the wait for the disk at every commit: it can be made again.

    MLflow opens the connections and does not show its engine, so this listens to all engines of
    the process while the block lasts, and changes those of MLflow's file below the root alone.
    """
    from sqlalchemy import Engine, event

    def relax(connection: object, _: object) -> None:
        if isinstance(connection, sqlite3.Connection):
            ((_, _, file),) = connection.execute("PRAGMA database_list")
            path = Path(file)
            if path.name == paths.DATABASE and path.is_relative_to(root.resolve()):
                connection.execute("PRAGMA synchronous = OFF")

    event.listen(Engine, "connect", relax)
    try:
        yield
    finally:
        event.remove(Engine, "connect", relax)


def short(error: Exception) -> str:
    """Text of an error; of a failed request its cause only, as the rest repeats the address."""
    original = getattr(error, "orig", None) or error.__cause__ or error  # SQLite's own
    if getattr(original, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
        return "the disk is full"
    text = reason(error).partition("(Background on")[0].partition("[SQL:")[0].strip()
    cause = re.search(r"Caused by \w+\((.*)\)\)", text)
    return re.split(r": |, '", cause[1])[-1].strip("\"'") if cause else text


def verify(root: Path) -> dict[str, int]:
    """Look at every page of the database; returns the number of metric values of each run.

    Without those of a report.

    Raises:
        DamagedError: It is no sound database of MLflow.
    """
    if not path_of(root).exists():
        return {}
    with _opened(root, BUSY_SECONDS) as connection:
        (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            raise DamagedError(str(found))
        # MLflow itself tags every run. Without tags none is found again, and all would come twice.
        bare = (
            "SELECT count(*) FROM runs WHERE lifecycle_stage = 'active' "
            "AND NOT EXISTS (SELECT 1 FROM tags WHERE tags.run_uuid = runs.run_uuid)"
        )
        (lost,) = connection.execute(bare).fetchone()
        if lost:
            raise DamagedError(f"{lost} runs have lost their tags")
        query = (
            "SELECT runs.run_uuid, count(DISTINCT metrics.key || ' ' || metrics.step) "
            "FROM runs LEFT JOIN metrics ON runs.run_uuid = metrics.run_uuid "
            + "".join(f"AND metrics.key NOT GLOB '{name}*' " for name in REPORTED)
            + "GROUP BY runs.run_uuid"
        )
        return dict(connection.execute(query).fetchall())


def set_aside(root: Path) -> Path:
    """Move the database and its artifacts into a folder beside; returns that folder."""
    aside = root / f"mlflow-damaged-{datetime.now():%Y%m%d-%H%M%S-%f}"
    aside.mkdir()
    for name in (paths.DATABASE, paths.ARTIFACTS):
        for path in root.glob(f"{name}*"):  # with the journal that SQLite keeps beside
            os.rename(path, aside / path.name)
    return aside


@contextmanager
def _opened(root: Path, seconds: float) -> Iterator[sqlite3.Connection]:
    """A connection; what SQLite finds wrong with the content is a ``DamagedError``."""
    database = path_of(root)
    uri = f"{database.as_uri()}?mode=rw"
    try:
        connection = sqlite3.connect(
            uri, min(seconds, BUSY_SECONDS), isolation_level=None, uri=True
        )
        with closing(connection):
            yield connection
    except (sqlite3.Error, UnicodeError) as error:
        if is_blocked(error) and database.is_file():
            raise
        raise DamagedError(reason(error)) from error
