"""Failed seeds in a comparison: a verdict stands only where they could not turn it."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from headsweep.report.predictions import HeadRow
from headsweep.report.resampling import values_of
from headsweep.stats.failures import allowing_for_failures, completions
from headsweep.stats.metrics import METRICS
from headsweep.stats.tracks import Array
from headsweep.stats.verdict import Verdict
from headsweep.stats.welch import improvement


def word(verdict: Verdict) -> object:
    """The reading of a verdict where nothing else is read from it."""
    return verdict.word


def judge(
    rows: Sequence[HeadRow],
    weights: Sequence[float] | Array,
    metric: str,
    seen: Sequence[Array],
    compare: Callable[[Sequence[HeadRow], Sequence[Array]], Verdict],
    reading: Callable[[Verdict], object] = word,
) -> tuple[Verdict | None, str]:
    """The verdict on configurations of which seeds may have failed, or the reason for none.

    A failed seed is put at the values that it could have given. Of a metric that is no function of
    tracks alone nothing bounds them, and there is no verdict.

    Args:
        rows: The configurations that are compared.
        weights: Theirs in the compared sum.
        metric: Its name.
        seen: Its values of the samples of each configuration.
        compare: From configurations and the values of their samples to the verdict on them.
        reading: What is read from the verdict, and must not change.

    Raises:
        UserError: A value cannot be compared.
    """
    found = compare(rows, seen)
    if not any(row.failed for row in rows) or found.reason:
        return found, ""
    failed = [values_of(row.failed, metric) for row in rows] if metric in METRICS else []
    if failed and all(np.isfinite(values).all() for values in failed):
        everyone = [replace(row, samples=[*row.samples, *row.failed]) for row in rows]
        cases = completions(seen, failed, weights, found.better)
        ends = [compare(everyone, values) for values in cases]
        whole = allowing_for_failures(found, *ends)
        if found.improvement is not None:  # a failed run is beaten by every other
            lowest, highest = completions(seen, failed, (1.0, 1.0), found.better)
            arm, control = highest if found.better == "lower" else lowest
            whole = replace(whole, improvement=improvement(arm, control, found.better))
        same = [whole, *ends] if found.word == "undecided" else [whole]
        if all(reading(verdict) == reading(found) for verdict in same):
            return whole, ""
    return None, f"{_failed_words(rows)}, and what they would have given decides; {MEND}"


MEND = "mend the cause, remove their folders and train again"


def shortfall(row: HeadRow) -> str:
    """Failed and missing members in words: ``2 of 5 seeds of simpler failed``; empty for none."""
    unit = "members" if row.folds else "seeds"
    total = f"of {row.planned} {unit} of {row.label}"
    failed, missing = len(row.failed), row.planned - len(row.failed) - len(row.samples)
    parts = [f"{failed} {total} failed"] if failed else []
    if missing:
        parts.append(f"{missing}{'' if failed else f' {total}'} not trained yet")
    return ", ".join(parts)


def shortfalls(rows: Sequence[HeadRow]) -> str:
    """The same of several configurations."""
    return "; ".join(filter(None, map(shortfall, rows)))


def _failed_words(rows: Sequence[HeadRow]) -> str:
    """Which seeds failed, by configuration."""
    parts = []
    for row in rows:
        if row.failed:
            seeds = sorted({sample.seed for sample in row.failed})
            word = "seed" if len(seeds) == 1 else "seeds"
            numbers = ", ".join(map(str, seeds))
            parts.append(f"{shortfall(row).split(',')[0]} ({word} {numbers})")
    return " and ".join(parts)
