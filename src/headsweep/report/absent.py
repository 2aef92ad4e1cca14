"""Jobs of a sweep that are not in its report: not trained yet, failed, or equal to another one."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from headsweep.store import paths
from headsweep.store.labels import FOLD_KEYS, StoredJob
from headsweep.store.outcome import Outcome


def absent_jobs(folder: Path, spec: Mapping[str, Any], jobs: Sequence[StoredJob]) -> dict[str, str]:
    """Number and label of each job of a grid without a run folder, with the reason if it failed.

    Args:
        folder: Of the sweep.
        spec: Its ``spec.yaml``.
        jobs: Those that are there.
    """
    there = {job.folder.name for job in jobs}
    absent = [name for name in spec.get("jobs", ()) if name.partition(" ")[0] not in there]
    found = {}
    for name in absent:
        outcome = Outcome.read(paths.job_folder(folder, name.partition(" ")[0]))
        found[name] = "" if outcome is None else str(outcome.reason)
    return found


def failed_folds(
    spec: Mapping[str, Any], groups: Mapping[str, Sequence[StoredJob]], absent: Mapping[str, str]
) -> dict[str, str]:
    """Objection to each cross-validated configuration that has lost a whole fold, by label.

    Args:
        spec: Of the sweep.
        groups: Label and jobs of each configuration.
        absent: See ``absent_jobs``.
    """
    decides = {
        name: {key: value for key, value in own.items() if key not in FOLD_KEYS}
        for name, own in spec.get("jobs", {}).items()
    }
    by_number = {name.partition(" ")[0]: own for name, own in decides.items()}
    return {
        label: f"its job {name} failed: {reason}"
        for name, reason in absent.items()
        if reason
        for label, jobs in groups.items()
        if jobs[0].folds and by_number.get(jobs[0].folder.name) == decides[name]
    }


def same_labels(
    spec: Mapping[str, Any], groups: Mapping[str, Sequence[StoredJob]]
) -> dict[str, str]:
    """Label of each configuration that is equal to another, with the label of that one."""
    labels = {job.folder.name: label for label, jobs in groups.items() for job in jobs}
    return {name: labels[str(at)] for name, at in spec.get("same", {}).items() if str(at) in labels}
