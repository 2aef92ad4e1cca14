"""The six claims of the document, each tested on the runs of a sweep (``design.kind=claims``).

Delta = mean ln m(conservative) - mean ln m(the other): a claimed improvement is a Delta below 0.
``sweep/claim_roles.py`` finds the configurations that a claim compares.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import numpy as np

from headsweep.config import DesignConfig
from headsweep.errors import UserError
from headsweep.report.comparisons import Effect, LooksAt, judge_pair, obstacle
from headsweep.report.failures import judge, shortfalls
from headsweep.report.family import family_size
from headsweep.report.predictions import HeadRow
from headsweep.report.pt_trend import PtTrend
from headsweep.report.resampling import event_means, values_of
from headsweep.stats import margins
from headsweep.stats.bins import Bins
from headsweep.stats.margins import Better
from headsweep.stats.metrics import MARGINS
from headsweep.stats.sequential import Looks
from headsweep.stats.spread import compare_spread
from headsweep.stats.superiority import (
    Conclusion,
    Finding,
    joint,
    non_inferiority,
    superiority,
)
from headsweep.stats.verdict import Verdict
from headsweep.sweep.claim_roles import CONTROL, find_roles

SPREAD, TREND = "qoverpt_r68_spread", "qoverpt_r68_trend"
"""Standard deviation of ln r68 over seeds; r68 at high pT over r68 at low, see ``PtTrend``."""

TERMS = {**MARGINS, SPREAD: margins.SPREAD, TREND: MARGINS["qoverpt_r68"]}
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


@dataclass(frozen=True)
class Claim:
    """A claim of the document: its name, its words, the role that is compared with, its parts."""

    name: str
    words: str
    against: str
    parts: tuple[ClaimPart, ...]

    def on(self, split: str) -> "Claim":
        """The claim with its parts on a scored split."""
        parts = tuple(
            replace(
                part, metric=part.metric.format(split=split), words=part.words.format(split=split)
            )
            for part in self.parts
        )
        return replace(self, parts=parts)


R68 = ClaimPart("qoverpt_r68", "r68 of q/pT is lower")
CLAIMS = (
    Claim(
        "C1",
        "better pT resolution, most at high pT",
        "direct",
        (R68, ClaimPart(TREND, "r68 is lowered more at high pT than at low")),
    ),
    Claim("C2", "better eta", "direct", (ClaimPart("eta_abs68", "68% of |eta error| is lower"),)),
    Claim("C3", "more stable", "direct", (ClaimPart(SPREAD, "ln r68 scatters less over seeds"),)),
    Claim(
        "C4",
        "better generalisation through dropout",
        "no dropout",
        (
            ClaimPart("gap", "{split} loss / training loss is lower"),
            ClaimPart(
                "last_{split}_loss",
                "{split} loss is not worse by the margin",
                test=non_inferiority,
            ),
        ),
    ),
    Claim(
        "C5",
        "slower start, better end",
        "direct",
        (
            ClaimPart(
                "loss_at_10pct", "val loss after 10% of the steps is higher", better="higher"
            ),
            ClaimPart("last_{split}_loss", "{split} loss at the end is lower"),
        ),
    ),
    Claim("C6", "full projections beat half ones", "half", (R68,)),
)
"""The family: m is their number."""

EXTRA = Claim("before", "the whole change brought something", "before", (R68,))
"""A row outside the family, m = 1."""


@dataclass(frozen=True)
class PartResult:
    """One part of a claim with its finding.

    Attributes:
        words: The claim on this metric.
        finding: refuted, supported, undecided or not testable.
        how: See ``superiority.Conclusion``.
        effect: The comparison behind it, with the reason where it is not testable.
    """

    words: str
    finding: Finding | Literal["not testable"]
    how: str
    effect: Effect


@dataclass(frozen=True)
class ClaimResult:
    """One claim with its finding: refuted if a part of it is, supported if all are.

    Attributes:
        name: ``C1`` to ``C6``; ``before`` for the row outside the family.
        words: The claim.
        arm: Label of the conservative configuration.
        against: Label of the other, or its role where there is no such configuration.
        finding: refuted, supported, undecided, or not testable where a part is not.
        how: See ``superiority.Conclusion``.
        parts: One or two.
    """

    name: str
    words: str
    arm: str
    against: str
    finding: Finding | Literal["not testable"]
    how: str
    parts: tuple[PartResult, ...]


def find_claims(
    rows: Sequence[HeadRow],
    configs: Sequence[Mapping[str, Any]],
    design: DesignConfig,
    objections: Mapping[str, str],
    bins: Bins,
    rng: np.random.Generator,
    looks: LooksAt = lambda labels: None,
) -> list[ClaimResult]:
    """Test the six claims, and the row outside their family.

    Args:
        rows: The configurations, the control first.
        configs: The resolved configuration of each.
        design: May raise m above six.
        objections: By label, why a configuration may enter no verdict.
        bins: Quoted pT bins.
        rng: Drives the bootstraps.
        looks: How often two configurations were compared, by their labels.

    Raises:
        UserError: See ``find_roles``.
    """
    by_role = {role: rows[at] for role, at in find_roles(configs).items()}
    m = family_size(design, len(rows), len(CLAIMS))
    return [
        _test(
            claim.on(design.split),
            by_role,
            objections,
            bins,
            1 if claim is EXTRA else m,
            rng,
            looks,
        )
        for claim in (*CLAIMS, EXTRA)
    ]


def _test(
    claim: Claim,
    by_role: Mapping[str, HeadRow],
    objections: Mapping[str, str],
    bins: Bins,
    comparisons: int,
    rng: np.random.Generator,
    looks: LooksAt,
) -> ClaimResult:
    """Test one claim; without the other configuration it is not testable."""
    arm, control = by_role[CONTROL], by_role.get(claim.against)
    against = claim.against if control is None else control.label
    parts, conclusions = [], []
    for part in claim.parts:
        if control is None:
            note = f"no configuration is '{claim.against}'"
            effect, words = Effect(arm.label, against, part.metric, 0, None, note), part.words
        else:
            looked = looks([arm.label, control.label])
            effect = _effect(part, arm, control, objections, bins, comparisons, rng, looked)
            words = part.words + _more_words(part.metric, arm, control, bins)
        if effect.verdict is None:
            parts.append(PartResult(words, "not testable", "", effect))
        else:
            found = part.test(effect.verdict)
            conclusions.append(found)
            parts.append(PartResult(words, found.finding, found.how, effect))
    whole = joint(*conclusions)
    testable = len(conclusions) == len(parts) or whole.finding == "refuted"
    finding = whole.finding if testable else "not testable"
    return ClaimResult(
        claim.name, claim.words, arm.label, against, finding, whole.how, tuple(parts)
    )


def _effect(
    part: ClaimPart,
    arm: HeadRow,
    control: HeadRow,
    objections: Mapping[str, str],
    bins: Bins,
    comparisons: int,
    rng: np.random.Generator,
    looks: Looks | None,
) -> Effect:
    """The comparison behind one part, with a verdict or the reason for none."""
    verdict, note = None, obstacle(part.metric, arm, control, objections)
    if not note:
        try:
            verdict, note = _verdict(part, arm, control, bins, comparisons, rng, looks)
        except UserError as error:
            note = str(error)
    parameters = arm.parameters - control.parameters
    lost = shortfalls((arm, control))
    return Effect(arm.label, control.label, part.metric, parameters, verdict, note, lost)


def _verdict(
    part: ClaimPart,
    arm: HeadRow,
    control: HeadRow,
    bins: Bins,
    comparisons: int,
    rng: np.random.Generator,
    looks: Looks | None,
) -> tuple[Verdict | None, str]:
    """The verdict of one part, or the reason for none; an error is a reason, too."""
    rows = (arm, control)
    comparison = replace(
        TERMS[part.metric], better=part.better, comparisons=comparisons, looks=looks
    )
    if part.metric == SPREAD:
        if arm.folds is not None:
            raise UserError(
                "folds differ in their tracks, not only in their seeds; train without folds "
                "(data.split.folds=null)"
            )
        return judge(
            rows,
            (1.0, -1.0),
            SPREAD,
            [values_of(row.samples, R68.metric) for row in rows],
            lambda _, both: compare_spread(both[0], both[1], rng, comparison),
        )
    if part.metric == TREND:
        trend = PtTrend.find(arm, bins)
        values = {row.label: trend.values(row) for row in rows}
        events = trend.event_means(rows, rng)
    else:
        values = {row.label: values_of(row.samples, part.metric) for row in rows}
        events = event_means(rows, part.metric, rng)
    return judge_pair(arm, control, part.metric, values, events, comparison, partial(_read, part))


def _read(part: ClaimPart, verdict: Verdict) -> tuple[str, str]:
    found = part.test(verdict)
    return found.finding, found.how


def _more_words(metric: str, arm: HeadRow, control: HeadRow, bins: Bins) -> str:
    """Words that a part adds: its bins, or the number of seeds that there should be."""
    if metric == TREND and arm.samples:
        try:
            return PtTrend.find(arm, bins).text()
        except UserError:
            return ""
    fewest = min(len(arm.samples), len(control.samples))
    if metric == SPREAD and arm.folds is None and fewest < SPREAD_SEEDS:
        return f" ({SPREAD_SEEDS} seeds each are asked for, here are {fewest})"
    return ""
