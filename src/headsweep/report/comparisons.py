"""The comparisons of a sweep's design, each with a verdict or the reason for none."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headsweep.config import DesignConfig
from headsweep.errors import UserError
from headsweep.report.failures import judge, shortfalls
from headsweep.report.family import family_size, pairs
from headsweep.report.obstacle import OTHER_LOSSES, obstacle
from headsweep.report.pair_verdict import compare_rows, judge_pair
from headsweep.report.predictions import HeadRow, Row
from headsweep.report.resampling import event_means, event_values, values_of
from headsweep.report.seed_looks import SeedLooks
from headsweep.stats.factorial import Contrast, compare_contrast, contrasts
from headsweep.stats.margins import Comparison
from headsweep.stats.metrics import LAST_LOSSES, MARGINS
from headsweep.stats.sequential import Looks
from headsweep.stats.tracks import Array
from headsweep.stats.verdict import Verdict

LooksAt = Callable[[Sequence[str]], Looks | None]
"""From the labels of the compared configurations to the looks at them."""

VERDICT_COLUMNS = (
    *("delta", "low", "high", "sim_low", "sim_high", "comparisons"),
    *("margin", "scale", "p_value", "n_arm", "n_control"),
)
"""Attributes of a verdict that stand in the table of all comparisons."""


@dataclass(frozen=True)
class Effect:
    """One comparison.

    Attributes:
        arm: Label of the configuration.
        control: Label of the one that it is compared with.
        metric: Name of the compared metric.
        parameters: Trained parameters, arm minus control.
        verdict: None where there is none.
        note: The reason why there is none; empty with a verdict.
        shortfall: How many of its seeds failed or are not trained yet, in words; empty for none.
    """

    arm: str
    control: str
    metric: str
    parameters: int
    verdict: Verdict | None
    note: str = ""
    shortfall: str = ""

    def row(self) -> dict[str, Any]:
        """The comparison as a row of a table, see ``results.SweepResults.verdicts``."""
        found = self.verdict
        return {
            "arm": self.arm,
            "control": self.control,
            "metric": self.metric,
            "verdict": None if found is None else found.word,
            **{name: None if found is None else getattr(found, name) for name in VERDICT_COLUMNS},
            "parameters": self.parameters,
            "note": self.note if found is None else found.reason or self.shortfall,
        }


def find_effects(
    rows: Sequence[HeadRow],
    design: DesignConfig,
    cells: Sequence[Mapping[str, str]],
    objections: Mapping[str, str],
    rng: np.random.Generator,
    planned: int = 0,
    looks: LooksAt = lambda labels: None,
    until: SeedLooks | None = None,
) -> list[Effect]:
    """Every comparison of a design.

    Args:
        rows: The configurations, the control first.
        design: The kind, and the metrics that are compared.
        cells: Choices of each configuration, for a factorial design.
        objections: By label, why a configuration may enter no verdict.
        rng: Drives the bootstrap over events, the same for every metric: so one has the figures
            that it has alone, as in a plan.
        planned: Configurations that the sweep will have, some perhaps not there yet: the intervals
            allow for all of them.
        looks: How often they were compared, see ``looks.SweepLooks.at``; else as if never.
        until: The looks of ``seeds=auto``, of which the first that decides gives the verdict; None
            for a verdict on all members.

    Raises:
        UserError: The configurations do not make up the design, or it has an unknown metric.
    """
    for name in design.metrics:
        if name not in MARGINS:
            raise UserError(
                f"design.metrics: {name} is no metric with a margin here; the sweep was made by "
                "another version of headsweep"
            )
    if design.kind == "factorial":
        return _factorial_effects(rows, design, cells, objections, rng, looks)
    m = family_size(design, max(len(rows), planned))
    effects: list[Effect] = []
    for name in design.metrics:
        compared = _Compared(
            name,
            values={row.label: values_of(row.samples, name) for row in rows},
            events=event_values(rows, name, deepcopy(rng)),
            objections=objections,
            comparison=replace(MARGINS[name], comparisons=m),
        )
        effects += compared.effects(rows, design.kind, looks, until)
    return effects


@dataclass(frozen=True)
class _Compared:
    """One metric of all configurations of a design, and the terms on which pairs are compared.

    Attributes:
        name: The metric.
        values: Its values of the members by label, [n].
        events: Its values on resampled events by label, [R, n]; see ``resampling.event_values``.
        objections: By label, why a configuration may enter no verdict.
        comparison: Margin and number of comparisons; the looks are those of each pair.
    """

    name: str
    values: Mapping[str, Array]
    events: Mapping[str, Array]
    objections: Mapping[str, str]
    comparison: Comparison

    def effects(
        self, rows: Sequence[HeadRow], kind: str, looks: LooksAt, until: SeedLooks | None
    ) -> Iterator[Effect]:
        """Every pair of a design; see ``find_effects``."""
        by_label = {row.label: row for row in rows}
        for pair in pairs([*by_label], kind):
            arm, control = (by_label[label] for label in pair)
            if until is None:
                verdict, note = self.verdict(arm, control, looks(pair))
            else:
                verdict, note = self.first_decision(arm, control, until)
            parameters = arm.parameters - control.parameters
            yield Effect(*pair, self.name, parameters, verdict, note, shortfalls((arm, control)))

    def verdict(
        self, arm: HeadRow, control: HeadRow, looks: Looks | None
    ) -> tuple[Verdict | None, str]:
        """The verdict on all members of a pair, or why there is none."""
        if reason := obstacle(self.name, arm, control, self.objections):
            return None, reason
        both = (arm.label, control.label)
        means = {name: self.events[name].mean(axis=1) for name in both if name in self.events}
        comparison = replace(self.comparison, looks=looks)
        try:
            verdict, note = judge_pair(arm, control, self.name, self.values, means, comparison)
            if self.name == "gap" and verdict is not None:
                note = _gap_objection(verdict, arm, control)
        except UserError as error:
            return None, str(error)
        return (None if note else verdict), note

    def first_decision(
        self, arm: HeadRow, control: HeadRow, until: SeedLooks
    ) -> tuple[Verdict | None, str]:
        """The verdict of the first look that decides a pair, else that of the last one by now."""
        pair = (arm, control)
        verdict, note = None, obstacle(self.name, arm, control, self.objections)
        note = note or f"its first look takes {until.every} seeds each"
        for looks, masks in until.available(pair):
            first, second = (until.first_members(row, looks) for row in pair)
            chosen = {row.label: mask for row, mask in zip(pair, masks, strict=True)}
            verdict, note = self._of(chosen).verdict(first, second, looks)
            if verdict is None or verdict.word != "undecided":
                break
        return verdict, note

    def _of(self, members: Mapping[str, NDArray[np.bool_]]) -> "_Compared":
        """The same for some members of some configurations, by masks [n]."""
        values = {label: self.values[label][mask] for label, mask in members.items()}
        of_events = {
            label: self.events[label][:, mask]
            for label, mask in members.items()
            if label in self.events
        }
        return replace(self, values=values, events=of_events)


def _factorial_effects(
    rows: Sequence[HeadRow],
    design: DesignConfig,
    cells: Sequence[Mapping[str, str]],
    objections: Mapping[str, str],
    rng: np.random.Generator,
    looks: LooksAt,
) -> list[Effect]:
    """Main effects and two-way interactions, each order a family of its own."""
    found = contrasts(cells)
    orders = Counter(contrast.order for contrast in found)
    effects, looked = [], looks([row.label for row in rows])
    for name in design.metrics:
        notes = [obstacle(name, row, rows[0], objections) for row in rows]
        if rows[0].folds:
            notes.append("cross-validated factorial designs have no verdict")
        note = next((note for note in notes if note), "")
        values = [values_of(row.samples, name) for row in rows]
        means = event_means(rows, name, deepcopy(rng))
        events = [means[row.label] for row in rows] if len(means) == len(rows) else None
        for contrast in found:
            verdict, own = None, note
            m = family_size(design, len(rows), orders[contrast.order])
            comparison = replace(MARGINS[name], comparisons=m, looks=looked)
            compare = partial(_compare_cells, contrast, comparison, events)
            if not note:
                try:
                    verdict, own = judge(rows, contrast.weights, name, values, compare)
                except UserError as error:  # such as a value that is not finite
                    own = str(error)
            weighted = zip(contrast.weights, rows, strict=True)
            parameters = round(sum(w * row.parameters for w, row in weighted))
            both = (contrast.name, contrast.against)
            effects.append(Effect(*both, name, parameters, verdict, own, shortfalls(rows)))
    return effects


def _compare_cells(
    contrast: Contrast,
    comparison: Comparison,
    events: Sequence[Array] | None,
    rows: Sequence[Row],
    values: Sequence[Array],
) -> Verdict:
    n_events = len(np.unique(rows[0].samples[0].tracks.event))
    return compare_contrast(contrast, values, comparison, events=events, n_events=n_events)


def _gap_objection(verdict: Verdict, arm: HeadRow, control: HeadRow) -> str:
    """The reason why a lower gap is not better: the loss on the scored split may be worse."""
    if verdict.word != "better":
        return ""
    if arm.loss != control.loss:
        return f"its gap is lower, but {OTHER_LOSSES}"
    name = next(name for name in LAST_LOSSES.values() if name in arm.samples[0].scalars)
    losses = {row.label: values_of(row.samples, name) for row in (arm, control)}
    comparison = replace(
        MARGINS[name], comparisons=verdict.comparisons, looks=verdict.comparison.looks
    )
    loss = compare_rows(arm, control, losses, {}, comparison)
    return "" if loss.sim_high < loss.margin else "its gap is lower, but its loss may be worse"
