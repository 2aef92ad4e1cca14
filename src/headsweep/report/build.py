"""The data of a report: saved weights scored on dev or test, with intervals, and verdicts."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pandas as pd

from headsweep.config import DesignConfig
from headsweep.errors import UserError
from headsweep.report import confirmation as report_confirmation
from headsweep.report import scoring
from headsweep.report.claims import Judged, find_claims
from headsweep.report.comparisons import Effect, find_effects
from headsweep.report.confirmation import Confirmation
from headsweep.report.fairness import Fairness, check
from headsweep.report.predictions import Cache, Row, Sample, Score, head_row, reference_rows
from headsweep.report.provenance import Origin, find_origin
from headsweep.report.reading_notes import reading_notes, selection_notes
from headsweep.report.training_comparison import Training, beside_control
from headsweep.stats.bins import ABS_ETA, ETA, PHI, binned, pt_axis
from headsweep.stats.intervals import Estimate, nadeau_bengio, t_interval
from headsweep.stats.metrics import METRICS, Array, Tracks, concatenate, evaluate, qoverpt_r68
from headsweep.stats.resolution_fit import ResolutionFit, fit_resolution
from headsweep.store import labels, ledger, paths
from headsweep.store.code_version import code_version
from headsweep.store.labels import Job
from headsweep.store.ledger import Readings
from headsweep.store.runs import read_config, read_spec
from headsweep.store.trials import Trials, usable

SCHEMA = 5
"""Version of ``report.json``."""

BINNED = (
    "qoverpt_r68",
    "qoverpt_core",
    "scale_bias",
    "sagitta_bias",
    "sagitta_bias_plus",
    "sagitta_bias_minus",
    "eta_abs68",
    "phi_abs68",
    "charge_misid",
    "charge_auc",
    "outlier_fraction",
)
"""Metrics that are also taken per bin of pT, |eta| and phi."""

SAGITTA = tuple(name for name in BINNED if name.startswith("sagitta"))
"""Metrics that are also taken per bin of eta, with its sign."""

REFERENCE_PT = "reference_pt"
"""Bins of pT, of the tracks with a classical reference."""

WHOLE = ("all", "reference_tracks")
"""What is not binned: all tracks, and those with a classical reference; every metric is taken."""


@dataclass(frozen=True)
class Summary:
    """What a report says of a configuration or reference beside its metrics (``predictions.Row``).

    Attributes:
        label: Its name.
        kind: ``head`` or ``reference``.
        finished: Members in the figures.
        planned: Members that it has or will have; 0 for a reference.
        problems: What became of the others.
        parameters: Trained parameters; 0 for a reference.
        flops: Operations of one prediction, see ``size.track_flops``; NaN for a reference.
        seconds: Time of its jobs, see ``predictions.Row``; NaN for a reference.
        usable: Share of the tracks that have an estimate.
        inputs: What the backbone gave it, in words; empty for a reference.
        r68: ``qoverpt_r68`` of each finished member.
    """

    label: str
    kind: str
    finished: int
    planned: int
    problems: tuple[str, ...]
    parameters: int
    flops: float
    seconds: float
    usable: float
    inputs: str
    r68: tuple[float, ...]


@dataclass(frozen=True)
class Value:
    """One figure.

    Attributes:
        label: Whose it is.
        metric: Name of the metric: of ``METRICS``, ``CURVES``, a loss, ``far_from_reference``, or
            in a bin of |eta| ``usable``, the share of the tracks that a reference can use, or
            ``efficiency``, the share of the true tracks that were found and have an estimate.
        axis: ``all``, ``reference_tracks`` (those with a classical reference), ``pt`` (GeV),
            ``reference_pt`` (the same of those), ``abs_eta``, ``eta`` or ``phi`` (rad).
        low: Lower edge of the bin; infinite, or 0 for pT, for the underflow. NaN without a bin.
        high: Upper edge, infinite for the overflow.
        tracks: Tracks in the bin.
        estimate: Its value and interval.
    """

    label: str
    metric: str
    axis: str
    low: float
    high: float
    tracks: int
    estimate: Estimate

    @property
    def bin(self) -> str:
        """The bin in words, without its unit: ``< 5``, ``5–10``, ``≥ 200``."""
        if math.isinf(self.high):
            return f"≥ {self.low:g}"
        if math.isinf(self.low):
            return f"< {self.high:g}"
        if self.axis in ("pt", REFERENCE_PT) and self.low == 0:
            return f"< {self.high:g}"
        return f"{self.low:g}–{self.high:g}"


@dataclass(frozen=True)
class Report:
    """A comparison.

    Attributes:
        name: Name of the sweep.
        rows: Configurations, then references.
        values: Every figure.
        curves: Learning curves: label, step, and train_loss and val_loss each as mean, low and
            high over the members.
        fits: Resolution fits by label.
        pt_edges: Quoted pT bins, GeV.
        min_bin_tracks: A bin with fewer tracks will never get a verdict.
        not_modelled: What the sample leaves out.
        notes: How to read the figures.
        effects: The comparisons of the design; none of a search, whose rows were chosen by the
            figures, and of a single configuration.
        fairness: What is known of rates and convergence of each configuration.
        origin: The question, and where the figures come from.
        search: All trials, where the rows are the best of a search.
        split: What was scored, ``dev`` or ``test``; ``dev_loss`` and ``last_dev_loss`` are of it.
        readings: Who has read this test sample before; None on dev.
        confirmation: Optimism of the search that was confirmed, and shifts from val to test.
        claims: The tested claims, of a design of that kind; their comparisons are ``effects``.
        trainings: Those of the other configurations beside those of the first.
    """

    name: str
    rows: list[Summary]
    values: list[Value]
    curves: pd.DataFrame
    fits: dict[str, ResolutionFit]
    pt_edges: list[float]
    min_bin_tracks: int
    not_modelled: list[str]
    notes: list[str]
    effects: list[Effect]
    fairness: list[Fairness]
    origin: Origin
    search: Trials | None = None
    split: str = "dev"
    readings: Readings | None = None
    confirmation: Confirmation | None = None
    claims: list[Judged] = field(default_factory=list)
    trainings: list[Training] = field(default_factory=list)

    @property
    def on(self) -> str:
        """The split for a title, with how often it was read before; empty for dev."""
        return "" if self.readings is None else f" on {self.split}, {self.readings.words()}"

    def get(self, label: str, metric: str, axis: str = "all") -> list[Value]:
        """A metric in each bin of an axis, in their order; empty without finished members."""
        return self._index.get((label, metric, axis), [])

    @cached_property
    def _index(self) -> dict[tuple[str, str, str], list[Value]]:
        found: dict[tuple[str, str, str], list[Value]] = {}
        for value in self.values:
            found.setdefault((value.label, value.metric, value.axis), []).append(value)
        return found

    def frame(self) -> pd.DataFrame:
        """All figures as a table: label, metric, axis, low, high, tracks, mean, half, n."""
        return pd.DataFrame([_flat(value) for value in self.values])

    def to_json(self) -> str:
        """All of it; NaN and infinity are null. The trials of a search are one long line."""
        plain = orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY
        content = {
            "schema": SCHEMA,
            **{f.name: getattr(self, f.name) for f in fields(self)},
            "values": [_flat(value) for value in self.values],
            "curves": self.curves.to_dict("records"),
            "search": orjson.Fragment(orjson.dumps(self.search, option=plain)),
        }
        # Python's json takes seconds for 10,000 trials.
        option = plain | orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
        return orjson.dumps(content, option=option).decode()


def build_report(folder: Path, root: Path, score: Score = scoring.score) -> Report:
    """Score a sweep's members and summarise them: on dev, or of a confirmation on test.

    Before test is read, that goes into the ledger.

    Args:
        folder: The sweep's folder, or the folder of one job.
        root: The folder of all output, which has the caches of frozen features.
        score: What scores saved weights.

    Raises:
        UserError: There is no such sweep, none of its members is finished, or its jobs read data
            of different pT bins.
    """
    search = Trials.read(folder)
    best = None if search is None else search.best()
    if search is not None and search.outcomes and not best:
        raise UserError(f"{folder}: no complete trial to report: {usable(search.outcomes)}")
    jobs = labels.read_jobs(folder, best)
    if not jobs:
        known = ", ".join(path.name for path in paths.sweep_folders(root)) or "none yet"
        raise UserError(f"{folder}: no jobs to report; sweeps under {root}: {known}")
    spec = read_spec(folder)
    design, frozen = DesignConfig(**spec.get("design", {})), spec.get("confirm")
    groups = labels.group_rows(jobs) if frozen is None else report_confirmation.group(jobs, frozen)
    first = {job.cache_key: job.folder for job in reversed(jobs)}
    readings = None
    if design.split == "test":
        samples = dict(scoring.open_test(job, root) for job in first.values())
        readings = ledger.record(root, folder.name, samples, [*groups], code_version())
    caches = {key: Cache.open(root, key, design.split) for key in first}
    metas = [cache.meta for cache in caches.values()]
    if any(list(meta.pt_edges) != list(metas[0].pt_edges) for meta in metas):
        raise UserError(f"{folder}: its jobs read data of different pT bins; report them apart")

    rows = [head_row(label, group, caches, root, score) for label, group in groups.items()]
    if not any(row.samples for row in rows):
        problems = "; ".join(line for row in rows for line in row.problems)
        raise UserError(f"{folder}: no finished member to report: {problems}")
    confirmed = None
    if frozen is not None:
        confirmed = report_confirmation.confirm(groups, rows, frozen, np.random.default_rng(0))
    pt_edges = [float(edge) for edge in metas[0].pt_edges]
    bins = (pt_edges, metas[0].min_bin_tracks)
    planned = 0 if any(job.folds for job in jobs) else len(spec.get("jobs", ()))
    fairness, compared, claims = (
        _compare(design, root, groups, rows, bins, planned) if search is None else ([], [], [])
    )
    trainings = beside_control(rows, np.random.default_rng(0)) if search is None else []
    rows += reference_rows(groups, caches)
    return Report(
        name=folder.name,
        rows=[_summary(row) for row in rows],
        values=[value for row in rows for value in _values(row, pt_edges)],
        curves=pd.concat([_curves(row) for row in rows], ignore_index=True),
        fits={row.label: _fit(row, pt_edges) for row in rows if row.samples},
        pt_edges=pt_edges,
        min_bin_tracks=metas[0].min_bin_tracks,
        not_modelled=list(dict.fromkeys(line for meta in metas for line in meta.not_modelled)),
        notes=[
            *([search.note()] if search is not None else []),
            *([readings.note()] if readings is not None else []),
            *selection_notes(groups, caches),
            *reading_notes(jobs, rows, design.split),
        ],
        effects=compared,
        fairness=fairness,
        origin=find_origin(folder, root, jobs, metas),
        search=search,
        split=design.split,
        readings=readings,
        confirmation=confirmed,
        claims=claims,
        trainings=trainings,
    )


def _compare(
    design: DesignConfig,
    root: Path,
    groups: Mapping[str, Sequence[Job]],
    rows: Sequence[Row],
    bins: tuple[Sequence[float], int],
    planned: int,
) -> tuple[list[Fairness], list[Effect], list[Judged]]:
    """Fairness of every configuration, and the comparisons that the sweep's design asks for."""
    if len(rows) < 2:
        return [], [], []
    fairness = check(groups, root)
    unfit = {found.label: found.unfit for found in fairness if found.unfit}
    rng = np.random.default_rng(0)
    if design.kind == "claims":
        configs = [read_config(own[0].folder) for own in groups.values()]
        claims = find_claims(rows, configs, design, unfit, bins, rng)
        return fairness, [part.effect for claim in claims for part in claim.parts], claims
    cells = [own[0].choices for own in groups.values()]
    return fairness, find_effects(rows, design, cells, unfit, rng, planned), []


def _summary(row: Row) -> Summary:
    own = ("finished", "r68")
    shared = {f.name: getattr(row, f.name) for f in fields(Summary) if f.name not in own}
    r68 = tuple(qoverpt_r68(sample.tracks) for sample in row.samples)
    return Summary(finished=len(row.samples), r68=r68, **shared)


def _measure(sample: Sample, pt_edges: Sequence[float]) -> pd.DataFrame:
    """Every metric of one sample: columns axis, low, high, n and the metrics."""
    tracks = sample.tracks
    sets = dict(zip(WHOLE, (tracks, tracks.take(sample.common)), strict=True))
    parts = [_whole(part, axis) for axis, part in sets.items()]
    for axis in (pt_axis(pt_edges), ABS_ETA, PHI):
        parts.append(binned(tracks, axis, BINNED).assign(axis=axis.name))
    parts.append(binned(tracks, ETA, SAGITTA).assign(axis=ETA.name))
    common = binned(sets["reference_tracks"], pt_axis(pt_edges), BINNED)
    parts.append(common.assign(axis=REFERENCE_PT))
    return pd.concat(parts, ignore_index=True)


def _whole(tracks: Tracks, axis: str) -> pd.DataFrame:
    row = {"axis": axis, "low": math.nan, "high": math.nan, "n": len(tracks), **evaluate(tracks)}
    return pd.DataFrame([row])


def _values(row: Row, pt_edges: Sequence[float]) -> Iterator[Value]:
    """Every figure of one configuration or reference."""
    if not row.samples:
        return
    own = [_measure(sample, pt_edges) for sample in row.samples]
    pooled = own if row.folds is None else [_measure(s, pt_edges) for s in row.pooled()]
    tracks = np.mean([frame["n"] for frame in pooled], axis=0).round().astype(int)
    bins = own[0][["axis", "low", "high"]]
    for name in METRICS:
        values = np.array([frame[name] for frame in own])
        centers = np.mean([frame[name] for frame in pooled], axis=0)
        for b, (axis, low, high) in enumerate(bins.itertuples(index=False)):
            if axis in WHOLE or name in (SAGITTA if axis == ETA.name else BINNED):
                estimate = _estimate(row, values[:, b], centers[b])
                yield Value(row.label, name, axis, low, high, int(tracks[b]), estimate)
    etas = [b for b, axis in enumerate(bins["axis"]) if axis == ABS_ETA.name]
    for name, shares in (("usable", row.usable_by_eta), ("efficiency", row.efficiency_by_eta)):
        for b, share in zip(etas, shares, strict=False):
            _, low, high = bins.iloc[b]
            estimate = Estimate(share, math.nan, 1)
            yield Value(row.label, name, ABS_ETA.name, low, high, int(tracks[b]), estimate)
    for name in row.samples[0].scalars:
        scalars = np.array([sample.scalars[name] for sample in row.samples])
        estimate = _estimate(row, scalars, float(scalars.mean()))
        yield Value(row.label, name, "all", math.nan, math.nan, int(tracks[0]), estimate)


def _estimate(row: Row, values: Array, center: float) -> Estimate:
    """Interval of a row's values, one for each sample.

    Without folds every sample is a seed on the same tracks. With folds a value is one fold of one
    split seed, its seeds averaged; a fold without the tracks for a value is left out.
    """
    if row.folds is None:
        return t_interval(values)
    _, block = np.unique([s.block for s in row.samples], axis=0, return_inverse=True)
    blocks = np.bincount(block, weights=values) / np.bincount(block)
    return nadeau_bengio(blocks[~np.isnan(blocks)], float(center), row.folds)


def _curves(row: Row) -> pd.DataFrame:
    """Mean and extremes of the learning curves over the members, by step."""
    if not row.curves:
        return pd.DataFrame()
    steps = pd.concat(row.curves).groupby("step")
    columns = {
        f"{loss}_{name}": steps[loss].agg(how)
        for loss in ("train_loss", "val_loss")
        for name, how in (("mean", "mean"), ("low", "min"), ("high", "max"))
    }
    return pd.DataFrame(columns).reset_index().assign(label=row.label)


def _fit(row: Row, pt_edges: Sequence[float]) -> ResolutionFit:
    """The resolution fit over all samples of a row; the bootstrap keeps an event's copies."""
    tracks = concatenate([sample.tracks for sample in row.samples])
    return fit_resolution(tracks, pt_edges[0], pt_edges[-1], np.random.default_rng(0))


def _flat(value: Value) -> dict[str, Any]:
    row: dict[str, Any] = asdict(value)
    return {**row, **row.pop("estimate")}
