"""Notes on how to read a report: what its figures are, and of which tracks."""

from collections.abc import Mapping, Sequence

import numpy as np

from headsweep.events.gate import describe
from headsweep.events.selection import words
from headsweep.features.cache import Meta
from headsweep.report.predictions import HeadRow
from headsweep.report.scored_cache import ScoredCache
from headsweep.store.labels import StoredJob


def selection_notes(
    groups: Mapping[str, Sequence[StoredJob]], caches: Mapping[str, ScoredCache]
) -> list[str]:
    """The selection of true tracks, once for all that share it; nothing where all tracks count."""
    labels_of: dict[str, list[str]] = {}
    for label, jobs in groups.items():
        own = [caches[key] for key in dict.fromkeys(job.cache_key for job in jobs)]
        share = np.mean([cache.meta.selected[cache.split] for cache in own])
        cuts = words(own[0].meta.selection)
        note = f"tracks with {cuts} were kept ({share:.1%} of {own[0].split})." if cuts else ""
        labels_of.setdefault(note, []).append(label)
    return [
        f"Only {note}" if len(labels_of) == 1 else f"Of {', '.join(of)} only {note}"
        for note, of in labels_of.items()
        if note
    ]


def left_out_notes(metas: Sequence[Meta]) -> list[str]:
    """The events of the data that no split has; nothing where all are whole and different."""
    texts = dict.fromkeys(filter(None, (describe(meta.left_out) for meta in metas)))
    return [f"Events left out of the data: {' / '.join(texts)}."] if texts else []


def reading_notes(jobs: Sequence[StoredJob], rows: Sequence[HeadRow], split: str) -> list[str]:
    """Notes on the figures of this report."""
    folds = next((row.folds for row in rows if row.folds), None)
    blocks = len({job.block for job in jobs})
    interval = (
        "mean ± half-width of the 95% Student t interval over n seeds; it holds for this sample of "
        "events, this training sample and this backbone only"
        if folds is None
        else "each value is the mean over split seeds of the metric of all out-of-fold "
        "predictions; ± is the half-width of the 95% Nadeau-Bengio interval, "
        f"SE² = (1/J + 1/(k - 1)) s² over J = {blocks} (fold, split seed) values of {folds}-fold "
        "cross-validation; 1/(k - 1) is the ratio of test to training tracks, the validation share "
        "within the training folds not deducted"
    )
    notes = [
        f"Split {split}, at the weights of the lowest validation loss. Figures: {interval}.",
        "The overall figures are weighted by the pT spectrum of the sample; the binned ones are "
        "the result.",
        "References have no seeds. Beside them configurations are judged on the same tracks, those "
        "that every reference can use.",
        f"gap is L_{split} / L_train at the last step on equal numbers of tracks; read it with "
        f"L_{split}.",
        "Seconds: the seeds of a job train together, and its time is that of its longest training, "
        "without the preparation of the data; of a job that was continued the shorter trainings "
        "are not counted.",
    ]
    notes += _input_notes(rows)
    if len({job.loss for job in jobs}) > 1:
        notes.append(
            f"Targets or losses differ: L_{split} and gap are not comparable across them, nor are "
            "learning curves."
        )
    return notes


def _input_notes(rows: Sequence[HeadRow]) -> list[str]:
    """The share of tracks that the backbone found, once for all configurations that share it."""
    labels_of: dict[str, list[str]] = {}
    for row in rows:
        if row.inputs:
            labels_of.setdefault(row.inputs, []).append(row.label)
    found = "is of tracks that were found"
    if len(labels_of) == 1:
        return [f"Every figure {found}: {inputs}." for inputs in labels_of]
    return [f"Every figure of {', '.join(of)} {found}: {what}." for what, of in labels_of.items()]
