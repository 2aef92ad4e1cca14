"""The evidence on one part of a claim: a metric of the members of two configurations."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from headsweep.errors import UserError
from headsweep.report.failures import judge, shortfalls
from headsweep.report.obstacle import obstacle
from headsweep.report.pair_verdict import judge_pair
from headsweep.report.predictions import HeadRow
from headsweep.report.pt_trend import PtTrend
from headsweep.report.resampling import event_values, values_of
from headsweep.report.seed_looks import SeedLooks
from headsweep.stats import margins
from headsweep.stats.bins import Bins
from headsweep.stats.margins import Better
from headsweep.stats.metrics import MARGINS
from headsweep.stats.sequential import Looks
from headsweep.stats.spread import compare_spread
from headsweep.stats.superiority import Conclusion, superiority
from headsweep.stats.tracks import Array
from headsweep.stats.verdict import Verdict

SPREAD, TREND = "qoverpt_r68_spread", "qoverpt_r68_trend"
"""Standard deviation of ln r68 over seeds; r68 at high pT over r68 at low, see ``PtTrend``."""

COMPARISONS = {**MARGINS, SPREAD: margins.SPREAD, TREND: MARGINS["qoverpt_r68"]}
"""The terms of comparison of each metric of a claim."""

SPREAD_SEEDS = 50
"""Seeds per arm that the claim on stability asks for."""


@dataclass(frozen=True)
class ClaimPart:
    """One part of a claim: a metric, the claim on it in words, its direction and its test.

    ``{split}`` in metric and words stands for the split that is scored.
    """

    metric: str
    words: str
    better: Better = "lower"
    test: Callable[[Verdict], Conclusion] = superiority


R68 = ClaimPart("qoverpt_r68", "r68 of q/pT is lower")


@dataclass(frozen=True)
class Terms:
    """How all parts of a claim are tested.

    Attributes:
        objections: By label, why a configuration may enter no verdict.
        bins: Quoted pT bins.
        comparisons: The number m of tests that the intervals allow for.
        rng: Drives the bootstraps.
    """

    objections: Mapping[str, str]
    bins: Bins
    comparisons: int
    rng: np.random.Generator


@dataclass(frozen=True)
class Evidence:
    """The members of two configurations in the metric of a part.

    Attributes:
        part: What is claimed.
        arm: The conservative configuration.
        control: The other.
        values: By label, of each member, [n].
        events: By label, of each member on resampled events, [R, n].
        note: The reason why they cannot be compared, or empty.
        lost: Members that the sweep planned and that are not there, see ``shortfalls``.
    """

    part: ClaimPart
    arm: HeadRow
    control: HeadRow
    values: Mapping[str, Array]
    events: Mapping[str, Array]
    note: str
    lost: str

    @classmethod
    def collect(cls, part: ClaimPart, arm: HeadRow, control: HeadRow, terms: Terms) -> "Evidence":
        """What all members of the two say on a part."""
        values: Mapping[str, Array] = {}
        events: Mapping[str, Array] = {}
        note = obstacle(part.metric, arm, control, terms.objections)
        if not note:
            try:
                values, events = _values(part.metric, (arm, control), terms)
            except UserError as error:
                note = str(error)
        return cls(part, arm, control, values, events, note, shortfalls((arm, control)))

    def first(
        self, until: SeedLooks, looks: Looks, masks: Sequence[NDArray[np.bool_]], terms: Terms
    ) -> "Evidence":
        """What the members of a look say, with one mask [n] for each of the two."""
        arm, control = (until.first_members(row, looks) for row in (self.arm, self.control))
        chosen = {row.label: m for row, m in zip((arm, control), masks, strict=True)}
        return replace(
            self,
            arm=arm,
            control=control,
            values={label: own[chosen[label]] for label, own in self.values.items()},
            events={label: own[:, chosen[label]] for label, own in self.events.items()},
            note=self.note or obstacle(self.part.metric, arm, control, terms.objections),
        )

    def verdict(self, terms: Terms, looks: Looks | None) -> tuple[Verdict | None, str]:
        """The verdict, or the reason for none; an error is a reason, too."""
        if self.note:
            return None, self.note
        part, rows = self.part, (self.arm, self.control)
        comparison = replace(
            COMPARISONS[part.metric], better=part.better, comparisons=terms.comparisons, looks=looks
        )
        try:
            if part.metric == SPREAD:
                return judge(
                    rows,
                    (1.0, -1.0),
                    SPREAD,
                    [self.values[row.label] for row in rows],
                    lambda _, both: compare_spread(both[0], both[1], terms.rng, comparison),
                )
            means = {label: own.mean(axis=1) for label, own in self.events.items()}
            reading = partial(_read, part)
            return judge_pair(*rows, part.metric, self.values, means, comparison, reading)
        except UserError as error:
            return None, str(error)


def _values(
    metric: str, rows: tuple[HeadRow, HeadRow], terms: Terms
) -> tuple[dict[str, Array], dict[str, Array]]:
    """A metric of each member, [n] by label, and on resampled events, [R, n] by label.

    Raises:
        UserError: There are too few bins for the trend, or folds where seeds are compared.
    """
    if metric == SPREAD:
        if rows[0].folds is not None:
            raise UserError(
                "folds differ in their tracks, not only in their seeds; train without folds "
                "(data.split.folds=null)"
            )
        return {row.label: values_of(row.samples, R68.metric) for row in rows}, {}
    if metric == TREND:
        trend = PtTrend.find(rows[0], terms.bins)
        return {row.label: trend.values(row) for row in rows}, trend.event_values(rows, terms.rng)
    values = {row.label: values_of(row.samples, metric) for row in rows}
    return values, event_values(rows, metric, terms.rng)


def _read(part: ClaimPart, verdict: Verdict) -> tuple[str, str]:
    found = part.test(verdict)
    return found.finding, found.how
