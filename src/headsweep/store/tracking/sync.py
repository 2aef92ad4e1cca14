"""Bringing MLflow in line with the run folders: while workers train, and whenever asked."""

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from types import TracebackType

from headsweep.config import Config
from headsweep.errors import UserError
from headsweep.store import paths
from headsweep.store.runs import find_jobs

EVERY_SECONDS = 2.0
"""How often finished jobs are looked for."""

RETRY_SECONDS = 30.0
"""How long to wait after MLflow could not be written."""


class Tracker:
    """Copies finished jobs to MLflow, from a thread of its own, and all of them at the end.

    What goes wrong there is said once and touches no result: ``headsweep sync`` makes up for it.

    Args:
        config: Says whether and where to track.
        folder: The sweep's folder.
    """

    def __init__(self, config: Config, folder: Path) -> None:
        from headsweep.store.tracking.changes import Seen

        self.config, self.folder = config, folder
        self._seen = Seen()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._warned = False

    def __enter__(self) -> "Tracker":
        if self.config.tracking:
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.config.tracking:
            self._stop.set()
            self._thread.join()
            self._sync()

    def _follow(self) -> None:
        seconds = EVERY_SECONDS
        while not self._stop.wait(seconds):
            seconds = EVERY_SECONDS if self._sync() else RETRY_SECONDS

    def _sync(self) -> bool:
        from headsweep.store.tracking.mlflow_client import sync_sweep

        root, uri = Path(self.config.root), self.config.tracking_uri
        try:
            sync_sweep(root, self.folder, uri, self._seen)
        except Exception as error:  # whatever it is, the training goes on
            if not self._warned:
                kind = "" if isinstance(error, UserError) else f"MLflow: {type(error).__name__}: "
                print(f"warning: {kind}{error}", file=sys.stderr)
            self._warned = True
            return False
        return True


@contextmanager
def report_copier(root: Path, sweep: Path, uri: str | None = None) -> Iterator[Callable[[], None]]:
    """A process that loads MLflow, which takes 3 seconds, while a report is made.

    Args:
        root: The folder of all output.
        sweep: The sweep's folder below it.
        uri: Of a tracking server; None for the database below the root.

    Yields:
        What copies the sweep's report to MLflow, as ``mlflow_client.sync_report``.
    """
    from headsweep.store.tracking.mlflow_client import (
        TrackingError,
        load,
        sync_command,
        sync_report,
    )

    def copy() -> None:
        try:
            other.submit(sync_report, root, sweep, uri).result()
        except BrokenExecutor as error:
            raise TrackingError(
                f"{sweep}: the process that writes MLflow was ended; "
                f"`{sync_command(root, sweep, uri)}` copies the report"
            ) from error

    ignore = (signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the command's to answer
    with ProcessPoolExecutor(1, get_context("spawn"), signal.signal, ignore) as other:
        other.submit(load, root, sweep, uri)  # an error is raised again by the copy
        yield copy


def sync(root: Path, name: str | None = None, uri: str | None = None) -> list[str]:
    """Bring the MLflow runs of sweeps and single runs in line with their folders.

    Args:
        root: The folder of all output.
        name: Of a sweep, or key of a single run; None for all.
        uri: Of a tracking server; None for the database below the root.

    Returns:
        The names of what is now in MLflow.

    Raises:
        UserError: There is no such sweep or run, or MLflow cannot be written.
    """
    from headsweep.store.tracking.mlflow_client import sync_job, sync_report, sync_sweep

    if not root.is_dir():
        raise UserError(f"--root {root}: no such folder; it is the root=FOLDER of the trainings")
    runs = {path.name: path for path in find_jobs(root / paths.RUNS)}
    sweeps = {path.name: path for path in paths.sweep_folders(root) if (path / paths.JOBS).is_dir()}
    if name is not None:
        runs = {key: path for key, path in runs.items() if key == name}
        sweeps = {key: path for key, path in sweeps.items() if key == name}
        if not runs and not sweeps:
            raise UserError(f"no finished job of {name!r} in {root}; `headsweep list` shows all")
    for folder in sweeps.values():
        sync_sweep(root, folder, uri)
        if (folder / paths.REPORT).is_dir():
            sync_report(root, folder, uri)
    for folder in runs.values():
        sync_job(root, folder, uri=uri)
    return [*sweeps, *runs]
