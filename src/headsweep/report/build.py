"""Building a report: saved weights scored on dev or test, with intervals, and verdicts.

``build_report`` chooses one builder by the kind of the sweep: a search, a confirmation, the claims
of the document, or a grid. Cross-validation is a property of each configuration, not a kind: its
intervals and comparisons are over folds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from headsweep.config import DesignConfig
from headsweep.errors import UserError
from headsweep.report import confirmation as report_confirmation
from headsweep.report import scoring
from headsweep.report.absent import absent_jobs, coinciding, failed_folds, lost_rows, same_labels
from headsweep.report.claims import find_claims
from headsweep.report.comparisons import find_effects
from headsweep.report.content import HeadSummary, ReferenceSummary, Report
from headsweep.report.distributions import find_distributions, resolution_map
from headsweep.report.fairness import check_fairness
from headsweep.report.family import planned_configurations
from headsweep.report.looks import SweepLooks
from headsweep.report.predictions import (
    HeadRow,
    ReferenceRow,
    Score,
    head_row,
    reference_rows,
)
from headsweep.report.provenance import find_origin
from headsweep.report.reading_notes import left_out_notes, reading_notes, selection_notes
from headsweep.report.scored_cache import ScoredCache
from headsweep.report.seed_average import find_agreement, find_averages
from headsweep.report.seed_looks import SeedLooks
from headsweep.report.training_comparison import compare_trainings
from headsweep.report.values import fit_row, learning_curves, row_values
from headsweep.stats.bins import Bins
from headsweep.store import labels, ledger, paths
from headsweep.store.code_version import code_version
from headsweep.store.labels import StoredJob
from headsweep.store.ledger import Readings
from headsweep.store.runs import read_config, read_spec
from headsweep.store.trials import Trials, usable


@dataclass(frozen=True)
class _Scored:
    """The scored configurations of a sweep.

    Attributes:
        folder: Of the sweep, or of a single run.
        root: The folder of all output.
        spec: Its ``spec.yaml``.
        jobs: Those that are shown, by number; of a search from the best trial.
        groups: Label and jobs of each configuration, the control first, without those that coincide
            with another.
        heads: The same, scored.
        coincide: Label of each configuration that is left out, with that of the one it equals.
        absent: Jobs without a folder, see ``absent_jobs``.
        lost: Those of them that failed as configurations, see ``lost_rows``.
        caches: Frozen features by key.
        bins: Quoted pT bins, the same of all caches.
        readings: Who has read this test sample before; None on dev.
    """

    folder: Path
    root: Path
    spec: Mapping[str, Any]
    jobs: list[StoredJob]
    groups: Mapping[str, Sequence[StoredJob]]
    heads: list[HeadRow]
    coincide: Mapping[str, str]
    absent: Mapping[str, str]
    lost: Mapping[str, HeadRow]
    caches: Mapping[str, ScoredCache]
    bins: Bins
    readings: Readings | None

    @property
    def design(self) -> DesignConfig:
        """The comparisons that the sweep asks for."""
        return DesignConfig(**self.spec.get("design", {}))

    @property
    def everyone(self) -> dict[str, HeadRow]:
        """All configurations by the number of their first job, in its order, the lost ones too."""
        numbers = [self.groups[row.label][0].folder.name for row in self.heads]
        found = {**dict(zip(numbers, self.heads, strict=True)), **self.lost}
        return {n: found[n] for n in sorted(found, key=int)} if self.lost else found


def build_report(folder: Path, root: Path, score: Score = scoring.score) -> Report:
    """Score a sweep's members and summarise them: on dev, or of a confirmation on test.

    Before test is read, that goes into the ledger; before verdicts are shown, into that of looks.

    Args:
        folder: The sweep's folder, or the folder of one job.
        root: The folder of all output, which has the caches of frozen features.
        score: What scores saved weights.

    Raises:
        UserError: There is no such sweep, none of its members is finished, or its jobs read data
            of different pT bins.
    """
    spec = read_spec(folder)
    with scoring.one_thread():
        if "search" in spec:
            return _search_report(folder, root, spec, score)
        if "confirm" in spec:
            return _confirmation_report(folder, root, spec, score)
        jobs = _read_jobs(folder, root)
        why = spec.get("why")
        groups = labels.path_rows(jobs, why["trial"]) if why else labels.group_rows(jobs)
        return _comparison_report(_score(folder, root, spec, jobs, groups, score))


def _search_report(folder: Path, root: Path, spec: Mapping[str, Any], score: Score) -> Report:
    """The best trials of a search; no verdicts, as they were chosen by the figures shown."""
    search = Trials.read(folder)
    assert search is not None
    best = search.best()
    if search.outcomes and not best:
        raise UserError(f"{folder}: no complete trial to report: {usable(search.outcomes)}")
    jobs = _read_jobs(folder, root, best)
    report = _describe(_score(folder, root, spec, jobs, labels.group_rows(jobs), score))
    return replace(report, search=search, notes=[search.note(), *report.notes])


def _confirmation_report(folder: Path, root: Path, spec: Mapping[str, Any], score: Score) -> Report:
    """Presets and the best trials of a search on fresh seeds: compared, and beside the search."""
    jobs, frozen = _read_jobs(folder, root), spec["confirm"]
    groups = report_confirmation.label_jobs(jobs, frozen)
    scored = _score(folder, root, spec, jobs, groups, score)
    split, rng = scored.design.split, np.random.default_rng(0)
    confirmed = report_confirmation.confirm(groups, scored.heads, frozen, split, rng)
    return replace(_comparison_report(scored), confirmation=confirmed)


def _comparison_report(scored: _Scored) -> Report:
    """Configurations compared as the design says; a single one has nothing to compare with."""
    report = _describe(scored)
    if len(scored.everyone) < 2:
        return report
    fairness = check_fairness(scored.groups, scored.root)
    objections = {found.label: found.objection for found in fairness if found.objection}
    objections |= failed_folds(scored.spec, scored.groups, report.absent)
    trainings = compare_trainings(scored.heads, np.random.default_rng(0))
    report = replace(report, fairness=fairness, trainings=trainings)
    looks = SweepLooks.open(scored.folder, scored.groups, scored.design)
    add = _with_claims if scored.design.kind == "claims" else _with_effects
    report = add(report, scored, objections, looks)
    return replace(report, notes=[*report.notes, *looks.record(report.effects)])


def _with_effects(
    report: Report, scored: _Scored, objections: Mapping[str, str], looks: SweepLooks
) -> Report:
    """A grid: pairs against a control or along a path, or the effects of a factorial design."""
    if scored.coincide and scored.design.kind == "factorial":
        return report  # the answer says why
    pairs = scored.design.kind != "factorial"
    effects = find_effects(
        [*scored.everyone.values()] if pairs else scored.heads,
        scored.design,
        [own[0].choices for own in scored.groups.values()],
        objections,
        np.random.default_rng(0),
        planned_configurations(scored.spec) - len(scored.coincide),
        looks.at,
        SeedLooks.of(scored.spec),
    )
    return replace(report, effects=effects)


def _with_claims(
    report: Report, scored: _Scored, objections: Mapping[str, str], looks: SweepLooks
) -> Report:
    """The document's six claims; their comparisons are the effects."""
    configs = [read_config(own[0].folder) for own in scored.groups.values()]
    rng = np.random.default_rng(0)
    claims = find_claims(
        scored.heads,
        configs,
        scored.design,
        objections,
        scored.bins,
        rng,
        looks.at,
        SeedLooks.of(scored.spec),
    )
    effects = [part.effect for claim in claims for part in claim.parts]
    return replace(report, effects=effects, claims=claims)


def _read_jobs(folder: Path, root: Path, numbers: Sequence[int] | None = None) -> list[StoredJob]:
    """The jobs to report, at least one."""
    jobs = labels.read_jobs(folder, numbers)
    if not jobs:
        known = ", ".join(path.name for path in paths.sweep_folders(root)) or "none yet"
        raise UserError(f"{folder}: no jobs to report; sweeps under {root}: {known}")
    return jobs


def _score(
    folder: Path,
    root: Path,
    spec: Mapping[str, Any],
    jobs: list[StoredJob],
    groups: Mapping[str, Sequence[StoredJob]],
    score: Score,
) -> _Scored:
    """Score every finished member on the split of the design; a reading of test is counted."""
    split = DesignConfig(**spec.get("design", {})).split
    first = {job.cache_key: job.folder for job in reversed(jobs)}
    readings = None
    if split == "test":
        samples = dict(scoring.open_test(job, root) for job in first.values())
        readings = ledger.record(root, folder.name, samples, [*groups], code_version())
    caches = {key: ScoredCache.open(root, key, split) for key in first}
    metas = [cache.meta for cache in caches.values()]
    if any(list(meta.pt_edges) != list(metas[0].pt_edges) for meta in metas):
        raise UserError(f"{folder}: its jobs read data of different pT bins; report them apart")
    heads = [head_row(label, own, caches, root, score) for label, own in groups.items()]
    if not any(row.samples for row in heads):
        problems = "; ".join(f"{row.label}: {line}" for row in heads for line in row.problems)
        raise UserError(
            f"{folder}: no finished member to report: {problems}. Mend the cause, such as "
            "optim.lr, and train again"
        )
    bins = Bins(tuple(float(edge) for edge in metas[0].pt_edges), metas[0].min_bin_tracks)
    twice = coinciding(heads)
    heads = [row for row in heads if row.label not in twice]
    groups = {row.label: groups[row.label] for row in heads}
    absent = absent_jobs(folder, spec, jobs)
    lost = lost_rows(spec, absent, heads[0], next(iter(caches.values())))
    return _Scored(
        folder, root, spec, jobs, groups, heads, twice, absent, lost, caches, bins, readings
    )


def _describe(scored: _Scored) -> Report:
    """The report without comparisons: figures, curves, fits, notes and provenance."""
    references = reference_rows(scored.groups, scored.caches)
    rows: list[HeadRow | ReferenceRow] = [*scored.heads, *references]
    metas = [cache.meta for cache in scored.caches.values()]
    readings, split = scored.readings, scored.design.split
    edges = [*scored.bins.edges]
    return Report(
        name=scored.folder.name,
        heads=[
            HeadSummary.of(row, [job.folder.name for job in scored.groups.get(row.label, [])])
            for row in scored.everyone.values()
        ],
        references=[ReferenceSummary(r.label, r.reference, r.usable) for r in references],
        values=[value for row in rows for value in row_values(row, edges)],
        curves=pd.concat([learning_curves(row) for row in scored.heads], ignore_index=True),
        fits={row.label: fit_row(row, edges) for row in rows if row.samples},
        pt_edges=edges,
        min_bin_tracks=scored.bins.min_tracks,
        not_modelled=list(dict.fromkeys(line for meta in metas for line in meta.not_modelled)),
        notes=[
            *([readings.note()] if readings is not None else []),
            *selection_notes(scored.groups, scored.caches),
            *left_out_notes(metas),
            *reading_notes(scored.jobs, scored.heads, split),
        ],
        origin=find_origin(scored.folder, scored.root, scored.jobs, metas),
        split=split,
        design=scored.design.kind,
        agreement=find_agreement(scored.heads),
        averages=find_averages(scored.heads, np.random.default_rng(0)),
        distributions=[d for row in scored.heads for d in find_distributions(row, edges)],
        maps=[resolution_map(row, edges) for row in scored.heads if row.samples],
        readings=readings,
        absent={
            name: reason
            for name, reason in scored.absent.items()
            if name.partition(" ")[0] not in scored.lost
        },
        same=same_labels(scored.spec, scored.groups) | {**scored.coincide},
    )
