"""The comparisons of a sweep, fixed by its design before it ran: each with a verdict or why not."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from headsweep.config import DesignConfig
from headsweep.factorial import contrasts, judge
from headsweep.intervals import t_interval
from headsweep.metrics import METRICS, Array
from headsweep.resampling import RESAMPLES, Rows, event_bootstrap
from headsweep.samples import Row, Sample
from headsweep.verdict import MARGINS, Verdict, compare, compare_blocks

MAX_MISID, MAX_R68 = 0.40, 0.9
"""Where the upper 95% limits are not below these, nothing is known of charge and pT (heads.md)."""

INFORMED = ("qoverpt", "pt_", "charge", "scale")
"""Beginnings of metrics that need information on charge or pT."""

NO_INFORMATION = "not testable: no charge or pT information in these features"


@dataclass(frozen=True)
class Effect:
    """One comparison.

    Attributes:
        arm: Label of the configuration.
        control: Label of the one that it is compared with.
        metric: What is compared.
        parameters: Trained parameters, arm minus control.
        verdict: None where there is none.
        note: Why, or what to keep in mind.
    """

    arm: str
    control: str
    metric: str
    parameters: int
    verdict: Verdict | None
    note: str = ""


def pairs(labels: Sequence[str], kind: str) -> list[tuple[str, str]]:
    """Arm and control of each comparison: all against the first, or each against the last one."""
    controls = labels[:-1] if kind == "path" else [labels[0]] * (len(labels) - 1)
    return list(zip(labels[1:], controls, strict=True))


def find_effects(
    rows: Sequence[Row],
    design: DesignConfig,
    cells: Sequence[Mapping[str, str]],
    unfit: Mapping[str, str],
    rng: np.random.Generator,
) -> list[Effect]:
    """Every comparison of a design.

    Args:
        rows: The configurations, the control first.
        design: Whom to compare in what.
        cells: Choices of each configuration, for a factorial design.
        unfit: Why a label may enter no verdict.
        rng: Drives the bootstrap over events.

    Raises:
        UserError: The configurations do not make up the design.
    """
    names = design.metrics
    if design.kind == "factorial":
        return _factorial_effects(rows, names, cells, unfit, rng)
    by_label = {row.label: row for row in rows}
    family = pairs([*by_label], design.kind)
    m = max(len(family) * len(names), design.comparisons or 0)
    found = []
    for name in names:
        values = {row.label: values_of(row.samples, name) for row in rows}
        events = event_means(rows, name, rng)
        for arm, control in family:
            ours, theirs = by_label[arm], by_label[control]
            note = _obstacle(name, ours, theirs, unfit)
            verdict = None
            if not note:
                if ours.folds is not None:
                    verdict = _over_blocks(ours, theirs, name, m)
                else:
                    verdict = compare(
                        values[arm],
                        values[control],
                        MARGINS[name].value,
                        scale=MARGINS[name].scale,
                        comparisons=m,
                        arm_events=events.get(arm),
                        control_events=events.get(control) if arm in events else None,
                        n_events=len(np.unique(ours.samples[0].tracks.event)),
                    )
            parameters = ours.parameters - theirs.parameters
            found.append(Effect(arm, control, name, parameters, verdict, note))
    return found


def _factorial_effects(
    rows: Sequence[Row],
    names: Sequence[str],
    cells: Sequence[Mapping[str, str]],
    unfit: Mapping[str, str],
    rng: np.random.Generator,
) -> list[Effect]:
    """Main effects and two-way interactions, each order a family of its own."""
    family = contrasts(cells)
    sizes = {order: sum(c.order == order for c in family) * len(names) for order in (1, 2)}
    found = []
    for name in names:
        notes = [_obstacle(name, row, rows[0], unfit) for row in rows]
        note = next((note for note in notes if note), "")
        note = note or (
            "cross-validated factorial designs have no verdict" if rows[0].folds else ""
        )
        values = [values_of(row.samples, name) for row in rows]
        events = event_means(rows, name, rng)
        for contrast in family:
            verdict = None
            if not note:
                verdict = judge(
                    contrast,
                    values,
                    MARGINS[name].value,
                    scale=MARGINS[name].scale,
                    comparisons=sizes[contrast.order],
                    events=[*events.values()] if len(events) == len(rows) else None,
                    n_events=len(np.unique(rows[0].samples[0].tracks.event)),
                )
            parameters = round(
                sum(w * row.parameters for w, row in zip(contrast.weights, rows, strict=True))
            )
            found.append(Effect(contrast.name, contrast.against, name, parameters, verdict, note))
    return found


def values_of(samples: Sequence[Sample], name: str) -> Array:
    """The metric of each member, as it is compared: one that is best at 0 by its distance."""
    if name not in METRICS:
        return np.array([sample.scalars[name] for sample in samples])
    metric = METRICS[name]
    values = np.array([metric.function(sample.tracks) for sample in samples])
    return np.abs(values) if metric.better == "zero" else values


def _obstacle(name: str, arm: Row, control: Row, unfit: Mapping[str, str]) -> str:
    """Why these two cannot be compared, if they cannot."""
    for row in (arm, control):
        if not row.samples:
            return f"{row.label} has no finished member"
        if row.label in unfit:
            return f"{row.label}: {unfit[row.label]}"
        if name.startswith(INFORMED) and not _informed(row):
            return f"{row.label}: {NO_INFORMATION}"
    if arm.folds != control.folds:
        return "one is cross-validated, the other is not"
    return ""


def _informed(row: Row) -> bool:
    """Whether the upper 95% limits say that there is charge and pT information."""
    limits = (("charge_misid", MAX_MISID), ("qoverpt_r68", MAX_R68))
    for name, most in limits:
        found = t_interval(values_of(row.samples, name))
        half = 0.0 if math.isnan(found.half) else found.half  # one seed gets no verdict anyway
        if not found.mean + half < most:
            return False
    return True


def event_means(rows: Sequence[Row], name: str, rng: np.random.Generator) -> dict[str, Array]:
    """Mean over the seeds on resampled events, [R] by label; all see the same resamples.

    Left out is who was scored on other tracks than the first, or by no function of tracks alone.
    """
    if name not in METRICS or not rows[0].samples or rows[0].folds is not None:
        return {}
    first = rows[0].samples[0].tracks
    shared = [
        row
        for row in rows
        if row.samples
        and np.array_equal(row.samples[0].tracks.event, first.event)
        and np.array_equal(row.samples[0].tracks.pt_true, first.pt_true)
    ]
    logs, metric = MARGINS[name].scale == "log", METRICS[name]
    samples = [sample.tracks for row in shared for sample in row.samples]
    if metric.residual is not None and metric.reduce is not None:
        residuals, reduce = np.stack([metric.residual(tracks) for tracks in samples]), metric.reduce

        def values(drawn: Rows) -> Array:
            return np.asarray(reduce(residuals[:, drawn]))
    else:

        def values(drawn: Rows) -> Array:
            return np.array([metric.function(tracks.take(drawn)) for tracks in samples])

    table = event_bootstrap(values, first.event, rng, RESAMPLES)
    if metric.better == "zero":
        table = np.abs(table)
    table = np.log(table) if logs else table
    ends = np.cumsum([len(row.samples) for row in shared])
    parts = np.split(table, ends[:-1], axis=1)
    return {row.label: part.mean(axis=1) for row, part in zip(shared, parts, strict=True)}


def _over_blocks(arm: Row, control: Row, name: str, comparisons: int) -> Verdict:
    """Paired over the folds and split seeds that both have, the seeds of a block averaged."""
    ours, theirs = _blocks(arm, name), _blocks(control, name)
    both = sorted(ours.keys() & theirs.keys())
    return compare_blocks(
        np.array([ours[block] for block in both]),
        np.array([theirs[block] for block in both]),
        MARGINS[name].value,
        folds=arm.folds,
        scale=MARGINS[name].scale,
        comparisons=comparisons,
    )


def _blocks(row: Row, name: str) -> dict[tuple[int, int], float]:
    found: dict[tuple[int, int], list[float]] = {}
    for sample, value in zip(row.samples, values_of(row.samples, name), strict=True):
        found.setdefault(sample.block, []).append(float(value))
    return {block: math.fsum(values) / len(values) for block, values in found.items()}
