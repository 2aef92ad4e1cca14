"""Copies to MLflow beside other work: of a sweep while it trains, of a report while it is made."""

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from types import TracebackType

from headsweep.config import Config
from headsweep.errors import UserError
from headsweep.store.tracking.changes import SweepSnapshot
from headsweep.store.tracking.database import TrackingError
from headsweep.store.tracking.mlflow_client import sync_command, warm_up
from headsweep.store.tracking.sync import mending, sync_report, sync_sweep

EVERY_SECONDS = 2.0
"""Seconds between two looks for finished jobs."""

RETRY_SECONDS = 30.0
"""Seconds to wait after MLflow could not be written."""


class Tracker:
    """Thread that copies finished jobs to MLflow while a sweep trains, and all of them at the end.

    What goes wrong there touches no result. It is said once while the sweep trains, and in the end
    where something is missing then. A damaged database is made anew from the run folders.

    Args:
        config: Says whether and where to track.
        folder: The sweep's folder.
    """

    def __init__(self, config: Config, folder: Path) -> None:
        self.config, self.folder = config, folder
        self._known = SweepSnapshot()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._said = ""

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
            self._sync(last=True)

    def _follow(self) -> None:
        seconds = EVERY_SECONDS
        while not self._stop.wait(seconds):
            seconds = EVERY_SECONDS if self._sync() else RETRY_SECONDS

    def _sync(self, last: bool = False) -> bool:
        root, uri = Path(self.config.root), self.config.tracking_uri
        try:
            with mending(root):
                sync_sweep(root, self.folder, uri, self._known)
        except Exception as error:  # whatever it is, the training goes on
            kind = "" if isinstance(error, UserError) else f"MLflow: {type(error).__name__}: "
            text = f"warning: {kind}{error}"
            if not self._said or (last and text != self._said):
                print(text, file=sys.stderr)
            self._said = text
            return False
        return True


@contextmanager
def report_copier(root: Path, sweep: Path, uri: str | None = None) -> Iterator[Callable[[], None]]:
    """Process that loads MLflow, which takes 3 seconds, while a report is made.

    Args:
        root: The folder of all output.
        sweep: The sweep's folder below it.
        uri: Of a tracking server; None for the database below the root.

    Yields:
        A call that copies the sweep's report to MLflow, as ``sync.sync_report`` does.
    """

    def copy() -> None:
        try:
            other.submit(sync_report, root, sweep, uri).result()
        except BrokenExecutor as error:
            raise TrackingError(
                f"{sweep}: the process that writes MLflow was ended; "
                f"`{sync_command(root, sweep, uri)}` copies the report"
            ) from error

    ignore = (signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the command's to answer
    try:
        pool = ProcessPoolExecutor(1, get_context("spawn"), signal.signal, ignore)
    except OSError:  # no place for semaphores, as in a container without /dev/shm
        yield partial(sync_report, root, sweep, uri)
        return
    with pool as other:
        other.submit(warm_up, root, sweep, uri)  # an error is raised again by the copy
        yield copy
