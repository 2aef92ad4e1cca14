"""Jobs of a sweep that are not in its report: not trained yet, failed, or equal to another one."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from headsweep.report.predictions import HeadRow, Row, Sample
from headsweep.report.scored_cache import CONSTANT, ScoredCache
from headsweep.store import paths
from headsweep.store.labels import FOLD_KEYS, Block, StoredJob
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


def lost_rows(
    spec: Mapping[str, Any], absent: Mapping[str, str], control: HeadRow, cache: ScoredCache
) -> dict[str, HeadRow]:
    """Number and row of each configuration of which nothing was written but why it failed.

    All its seeds count as failed. A lost fold is no configuration, see ``failed_folds``.

    Args:
        spec: Of the sweep.
        absent: See ``absent_jobs``.
        control: The first configuration.
        cache: Its scored features.
    """
    first, planned = int(spec.get("seed", 0)), int(spec.get("seeds", 1))
    blind = cache.references[CONSTANT]
    found = {}
    for name, reason in absent.items():
        if control.folds or not reason:
            continue
        number, _, overrides = name.partition(" ")
        seeds = range(first, first + planned)
        found[number] = replace(
            control,
            label=overrides or f"job {number}",
            samples=[],
            parameters=0,
            planned=planned,
            failed=tuple(Sample(blind, cache.common, {}, Block(0, 0), seed) for seed in seeds),
            problems=(reason,),
            flops=0.0,
            seconds=0.0,
            inputs="",
            curves=(),
        )
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


def coinciding(rows: Sequence[Row]) -> dict[str, str]:
    """Label of each configuration that trained what an earlier one did, with the label of that one.

    All members that both have agree to the last bit, in their predictions and in all other figures:
    what differs in the configurations has no effect, as with a batch larger than the sample. Two
    trainings of one thing are no two samples, and as two arms they would count twice.

    Args:
        rows: The configurations, scored on one split.
    """
    members = [{(s.block, s.seed): _digest(s) for s in row.samples} for row in rows]
    found: dict[str, str] = {}
    for at, row in enumerate(rows):
        for first, known in zip(rows[:at], members[:at], strict=True):
            if first.label not in found and _agree(known, members[at]):
                found[row.label] = first.label
                break
    return found


def _agree(one: Mapping[tuple[Block, int], str], other: Mapping[tuple[Block, int], str]) -> bool:
    both = one.keys() & other.keys()
    return bool(both) and all(one[member] == other[member] for member in both)


def _digest(sample: Sample) -> str:
    """Hash of the predictions and figures of a member."""
    digest = hashlib.sha256(json.dumps(sample.scalars, sort_keys=True, default=float).encode())
    for values in sample.tracks.columns().values():
        digest.update(values.tobytes())
    return digest.hexdigest()
