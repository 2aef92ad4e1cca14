"""The comparisons of a sweep, fixed by its design before it ran: each with a verdict or why not."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from headsweep.config import DesignConfig
from headsweep.errors import UserError
from headsweep.report.predictions import Row, Sample
from headsweep.stats.bootstrap import RESAMPLES, Rows, event_bootstrap
from headsweep.stats.factorial import contrasts, judge
from headsweep.stats.intervals import t_interval
from headsweep.stats.metrics import METRICS, Array, Tracks
from headsweep.stats.verdict import MARGINS, Margin, Verdict, compare, compare_blocks
from headsweep.stats.welch import Better

MAX_MISID, MAX_R68 = 0.40, 0.9
"""Where the upper 95% limits are not below these, nothing is known of charge and pT (heads.md)."""

INFORMED = ("qoverpt", "pt_", "charge", "scale")
"""Beginnings of metrics that need information on charge or pT."""

OnRows = Callable[[Rows], Array]
"""From drawn rows of tracks to one value for each member."""

LOSSES = ("dev_loss", "last_dev_loss", "train_loss", "last_val_loss", "loss_at_10pct")
"""Metrics on the scale of a target, and so never compared across targets (metrics.md)."""

MAX_CLIPPED = 0.01
"""With a larger share of clipped pT there is no verdict on their RMSE (metrics.md)."""

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
    planned: int = 0,
) -> list[Effect]:
    """Every comparison of a design.

    Args:
        rows: The configurations, the control first.
        design: Whom to compare in what.
        cells: Choices of each configuration, for a factorial design.
        unfit: Why a label may enter no verdict.
        rng: Drives the bootstrap over events.
        planned: Configurations that the sweep will have, some perhaps not there yet: the intervals
            allow for all of them.

    Raises:
        UserError: The configurations do not make up the design.
    """
    names = design.metrics
    if design.kind == "factorial":
        return _factorial_effects(rows, names, cells, unfit, rng)
    by_label = {row.label: row for row in rows}
    family = pairs([*by_label], design.kind)
    m = max(max(len(family), planned - 1) * len(names), design.comparisons or 0)
    found = []
    for name in names:
        values = {row.label: values_of(row.samples, name) for row in rows}
        events = event_means(rows, name, rng)
        for arm, control in family:
            ours, theirs = by_label[arm], by_label[control]
            note = obstacle(name, ours, theirs, unfit)
            verdict = None
            if not note:
                try:
                    verdict = compare_rows(ours, theirs, values, events, MARGINS[name], m)
                    note = _hollow(name, verdict, ours, theirs, m)
                except UserError as error:
                    note = str(error)
            verdict = None if note else verdict
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
        notes = [obstacle(name, row, rows[0], unfit) for row in rows]
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


def obstacle(name: str, arm: Row, control: Row, unfit: Mapping[str, str]) -> str:
    """Why these two cannot be compared, if they cannot."""
    for row in (arm, control):
        if not row.samples:
            return f"{row.label} has no finished member"
        if row.label in unfit:
            return f"{row.label}: {unfit[row.label]}"
        if name.startswith(INFORMED) and not _informed(row):
            return f"{row.label}: {NO_INFORMATION}"
        if name == "pt_rmse" and values_of(row.samples, "clip_fraction").mean() > MAX_CLIPPED:
            return f"{row.label}: more than {MAX_CLIPPED:.0%} of its pT are clipped"
    if name in LOSSES and arm.losses != control.losses:
        return "losses of different targets are never compared"
    if arm.folds != control.folds:
        return "one is cross-validated, the other is not"
    return ""


def _hollow(name: str, verdict: Verdict, arm: Row, control: Row, comparisons: int) -> str:
    """Why a lower gap is no better one: the loss on the scored split may be worse (metrics.md)."""
    if name != "gap" or verdict.word != "better":
        return ""
    if arm.losses != control.losses:
        return "its gap is lower, but losses of different targets are never compared"
    losses = {row.label: values_of(row.samples, "last_dev_loss") for row in (arm, control)}
    margin = MARGINS["last_dev_loss"]
    loss = compare_rows(arm, control, losses, {}, margin, comparisons)
    return "" if loss.sim_high < margin.value else "its gap is lower, but its loss may be worse"


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
    metric = METRICS[name]

    def statistic(samples: Sequence[Tracks]) -> OnRows:
        if metric.residual is None or metric.reduce is None:
            return lambda drawn: np.array([metric.function(t.take(drawn)) for t in samples])
        residuals, reduce = np.stack([metric.residual(tracks) for tracks in samples]), metric.reduce
        return lambda drawn: np.asarray(reduce(residuals[:, drawn]))

    tables = resampled(rows, statistic, rng)
    if metric.better == "zero":
        tables = {label: np.abs(table) for label, table in tables.items()}
    logs = MARGINS[name].scale == "log"
    return {
        label: (np.log(table) if logs else table).mean(axis=1) for label, table in tables.items()
    }


def resampled(
    rows: Sequence[Row], statistic: Callable[[Sequence[Tracks]], OnRows], rng: np.random.Generator
) -> dict[str, Array]:
    """A statistic of every member on resampled events, [R, members] by label.

    Args:
        rows: Configurations; left out is who was scored on other tracks than the first.
        statistic: From the tracks of all members to a function of drawn rows that gives one value
            for each member.
        rng: Drives the bootstrap; all members see the same resamples.
    """
    first = rows[0].samples[0].tracks
    shared = [row for row in rows if row.shares_tracks(rows[0])]
    values = statistic([sample.tracks for row in shared for sample in row.samples])
    table = event_bootstrap(values, first.event, rng, RESAMPLES)
    ends = np.cumsum([len(row.samples) for row in shared])
    parts = np.split(table, ends[:-1], axis=1)
    return {row.label: part for row, part in zip(shared, parts, strict=True)}


def compare_rows(
    arm: Row,
    control: Row,
    values: Mapping[str, Array],
    events: Mapping[str, Array],
    margin: Margin,
    comparisons: int,
    better: Better = "lower",
) -> Verdict:
    """The verdict on two configurations: over their seeds, or paired over folds.

    Args:
        arm: One of them.
        control: The other.
        values: What is compared, of each member by label, [n].
        events: The means over members on resampled events by label, [R], see ``event_means``.
        margin: eps and its scale.
        comparisons: m.
        better: The direction of the values.

    Raises:
        UserError: A value cannot be compared on the scale.
    """
    if arm.folds is not None:
        return _over_blocks(arm, control, values, margin, comparisons, better)
    return compare(
        values[arm.label],
        values[control.label],
        margin.value,
        scale=margin.scale,
        better=better,
        comparisons=comparisons,
        arm_events=events.get(arm.label) if control.label in events else None,
        control_events=events.get(control.label) if arm.label in events else None,
        n_events=len(np.unique(arm.samples[0].tracks.event)),
    )


def _over_blocks(
    arm: Row,
    control: Row,
    values: Mapping[str, Array],
    margin: Margin,
    comparisons: int,
    better: Better,
) -> Verdict:
    """Paired over the folds and split seeds that both have, the seeds of a block averaged."""
    ours, theirs = (_blocks(row, values[row.label]) for row in (arm, control))
    both = sorted(ours.keys() & theirs.keys())
    return compare_blocks(
        np.array([ours[block] for block in both]),
        np.array([theirs[block] for block in both]),
        margin.value,
        folds=arm.folds,
        scale=margin.scale,
        better=better,
        comparisons=comparisons,
    )


def _blocks(row: Row, of_members: Array) -> dict[tuple[int, int], float]:
    found: dict[tuple[int, int], list[float]] = {}
    for sample, value in zip(row.samples, of_members, strict=True):
        found.setdefault(sample.block, []).append(float(value))
    return {block: math.fsum(values) / len(values) for block, values in found.items()}
