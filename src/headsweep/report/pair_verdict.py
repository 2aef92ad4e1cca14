"""The verdict on two configurations: over their seeds, or paired over folds."""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from headsweep.report.failures import judge, word
from headsweep.report.predictions import HeadRow, Row
from headsweep.stats.margins import Comparison
from headsweep.stats.tracks import Array
from headsweep.stats.verdict import Verdict, compare, compare_blocks
from headsweep.store.labels import Block


def judge_pair(
    arm: HeadRow,
    control: HeadRow,
    name: str,
    values: Mapping[str, Array],
    events: Mapping[str, Array],
    comparison: Comparison,
    reading: Callable[[Verdict], object] = word,
) -> tuple[Verdict | None, str]:
    """The verdict on two configurations, or the reason for none; see ``failures.judge``.

    Args:
        arm: One of them.
        control: The other.
        name: The metric.
        values: See ``compare_rows``, as for the next two.
        events: The means on resampled events.
        comparison: The terms.
        reading: What is read from the verdict.

    Raises:
        UserError: A value cannot be compared on the scale.
    """

    def compare(rows: Sequence[Row], cells: Sequence[Array]) -> Verdict:
        by_label = {row.label: own for row, own in zip(rows, cells, strict=True)}
        return compare_rows(rows[0], rows[1], by_label, events, comparison)

    seen = [values[row.label] for row in (arm, control)]
    return judge((arm, control), (1.0, -1.0), name, seen, compare, reading)


def compare_rows(
    arm: Row,
    control: Row,
    values: Mapping[str, Array],
    events: Mapping[str, Array],
    comparison: Comparison,
) -> Verdict:
    """The verdict on two configurations: over their seeds, or paired over folds.

    Args:
        arm: One of them.
        control: The other.
        values: The compared values of the members by label, [n].
        events: The means over members on resampled events by label, [R], see ``event_means``.
        comparison: The terms.

    Raises:
        UserError: A value cannot be compared on the scale.
    """
    if arm.folds is not None:
        return _compare_blocks(arm, control, values, comparison)
    return compare(
        values[arm.label],
        values[control.label],
        comparison,
        arm_events=events.get(arm.label) if control.label in events else None,
        control_events=events.get(control.label) if arm.label in events else None,
        n_events=len(np.unique(arm.samples[0].tracks.event)),
    )


def _compare_blocks(
    arm: Row, control: Row, values: Mapping[str, Array], comparison: Comparison
) -> Verdict:
    """Paired over the folds and split seeds that both have, the seeds of a block averaged."""
    ours, theirs = (_block_means(row, values[row.label]) for row in (arm, control))
    both = sorted(ours.keys() & theirs.keys())
    return compare_blocks(
        np.array([ours[block] for block in both]),
        np.array([theirs[block] for block in both]),
        comparison,
        folds=arm.folds,
    )


def _block_means(row: Row, of_members: Array) -> dict[Block, float]:
    found: dict[Block, list[float]] = {}
    for sample, value in zip(row.samples, of_members, strict=True):
        found.setdefault(sample.block, []).append(float(value))
    return {block: math.fsum(values) / len(values) for block, values in found.items()}
