"""The command ``headsweep report``: score a sweep, write its report, and copy it to MLflow."""

import gc
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from headsweep.errors import UserError
from headsweep.instantiate import allow as allow_modules
from headsweep.store import paths
from headsweep.terminal import console, preparing

if TYPE_CHECKING:
    from headsweep.report.content import Report


def find_folder(root: Path, name: str) -> Path:
    """The folder of a sweep, or of a single run.

    Args:
        root: The folder of all output, where ``name`` is a name.
        name: Name of the sweep, or key of the run, or the path of either.

    Raises:
        UserError: There is neither.
    """
    root, name = paths.locate(root, name)
    for parent in (root / paths.RUNS, root / paths.SWEEPS):
        folder = parent / name
        if folder.is_dir() and folder.resolve().parent == parent.resolve():
            return folder
    known = ", ".join(path.name for path in paths.sweep_folders(root)) or "none yet"
    raise UserError(f"{root}: no sweep {name!r}, and no run of that key; sweeps there: {known}")


def make_report(
    root: Path,
    name: str,
    tracking_uri: str | None = None,
    metric: str | None = None,
    allow: Sequence[str] | None = None,
) -> "tuple[Report, Path | None]":
    """Build and write the report of a sweep or single run; that of a sweep goes to MLflow, too.

    MLflow is a copy: when it cannot be written, that is a warning and the report stands.

    Args:
        root: The folder of all output.
        name: Name of the sweep, or key of the run.
        tracking_uri: Of an MLflow server; None for the database below the root, if it is there.
        metric: One that is to be looked at, which is only checked here.
        allow: Modules of the user's own that may be built from.

    Returns:
        The report, and the folder that it was written to; None where that cannot be written.

    Raises:
        UserError: There is nothing to report, or the server cannot have it.
    """
    from headsweep.store.tracking.database import TrackingError
    from headsweep.store.tracking.mlflow_client import check_uri
    from headsweep.store.tracking.tracker import report_copier

    allow_modules([*(allow or [])])
    check_uri(tracking_uri)
    folder = find_folder(root, name)
    root = folder.parents[1]
    single = folder.parent.name == "runs"
    if tracking_uri is not None and single:
        raise UserError(f"--tracking-uri: {name} is a single run; reports of sweeps are copied")
    tracked = not single and (tracking_uri is not None or (root / paths.DATABASE).exists())
    with _without_collection(), preparing(console(stderr=True)) as progress, ExitStack() as stack:
        progress("scoring", 0.0)
        # Before torch is loaded: the copier's process starts meanwhile.
        copy = stack.enter_context(report_copier(root, folder, tracking_uri)) if tracked else None
        from headsweep.report.build import build_report
        from headsweep.report.render.look_table import check_metric
        from headsweep.report.render.write import write_report

        if metric is not None:
            check_metric(metric)
        report = build_report(folder, root)
        try:
            write_report(report, folder / paths.REPORT)
        except (OSError, UserError) as error:
            print(f"warning: {folder / paths.REPORT} was not written ({error})", file=sys.stderr)
            return report, None
        if copy is not None:
            try:
                copy()
            except TrackingError as error:
                print(f"warning: {error}", file=sys.stderr)
    return report, folder / paths.REPORT


@contextmanager
def _without_collection() -> Iterator[None]:
    """No garbage collection: of 10,000 trials nothing is thrown away, and looking takes 0.5 s."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
