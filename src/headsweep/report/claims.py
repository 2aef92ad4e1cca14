"""The six claims of the document, each tested on the runs of a sweep (``design.kind=claims``).

Delta = mean ln m(conservative) - mean ln m(the other): a claimed improvement is a Delta below 0.
``sweep/claim_roles.py`` says who is who.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from headsweep.config import DesignConfig
from headsweep.errors import UserError
from headsweep.report.comparisons import Effect, compare_rows, event_means, obstacle, values_of
from headsweep.report.predictions import Row
from headsweep.report.pt_trend import Bins
from headsweep.stats.spread import compare_spread
from headsweep.stats.superiority import Claim, Finding, both, improves, not_worse
from headsweep.stats.verdict import MARGINS, Verdict
from headsweep.stats.welch import Better
from headsweep.sweep.claim_roles import CONTROL, find_roles

SPREAD, TREND = "qoverpt_r68_spread", "qoverpt_r68_trend"
"""Standard deviation of ln r68 over seeds; r68 at high pT over r68 at low pT, see ``Bins``."""

MARGIN = {**MARGINS, SPREAD: MARGINS["sd_ratio"], TREND: MARGINS["qoverpt_r68"]}

SPREAD_SEEDS = 50
"""Seeds per arm that the claim on stability asks for (heads.md)."""


@dataclass(frozen=True)
class Asked:
    """One part of a claim: a metric, what is said of it, and how its interval is read."""

    metric: str
    words: str
    better: Better = "lower"
    read: Callable[[Verdict], Claim] = improves


@dataclass(frozen=True)
class Claimed:
    """A claim of the document: its name, its words, the role that is compared with, its parts."""

    name: str
    words: str
    against: str
    parts: tuple[Asked, ...]


R68 = Asked("qoverpt_r68", "r68 of q/pT is lower")
CLAIMS = (
    Claimed(
        "C1",
        "better pT resolution, most at high pT",
        "direct",
        (R68, Asked(TREND, "r68 is lowered more at high pT than at low")),
    ),
    Claimed("C2", "better eta", "direct", (Asked("eta_abs68", "68% of |eta error| is lower"),)),
    Claimed("C3", "more stable", "direct", (Asked(SPREAD, "ln r68 scatters less over seeds"),)),
    Claimed(
        "C4",
        "better generalisation through dropout",
        "no dropout",
        (
            Asked("gap", "dev loss / training loss is lower"),
            Asked("last_dev_loss", "dev loss is not worse by the margin", read=not_worse),
        ),
    ),
    Claimed(
        "C5",
        "slower start, better end",
        "direct",
        (
            Asked("loss_at_10pct", "val loss after 10% of the steps is higher", better="higher"),
            Asked("last_dev_loss", "dev loss at the end is lower"),
        ),
    ),
    Claimed("C6", "full projections beat half ones", "half", (R68,)),
)
"""The family: m is their number."""

EXTRA = Claimed("before", "the whole change brought something", "before", (R68,))
"""A row outside the family, m = 1."""


@dataclass(frozen=True)
class Part:
    """One part of a claim, tested.

    Attributes:
        words: What is claimed.
        finding: refuted, supported, undecided or not testable.
        how: See ``superiority.Claim``.
        effect: The comparison behind it, with the reason where it is not testable.
    """

    words: str
    finding: Finding | Literal["not testable"]
    how: str
    effect: Effect


@dataclass(frozen=True)
class Judged:
    """One claim, tested: refuted if a part of it is, supported if all are.

    Attributes:
        name: ``C1`` to ``C6``; ``before`` for the row outside the family.
        words: What is claimed.
        arm: Label of the conservative configuration.
        against: Label of the other, or its role where there is no such configuration.
        finding: refuted, supported, undecided, or not testable where a part is not.
        how: See ``superiority.Claim``.
        parts: One or two.
    """

    name: str
    words: str
    arm: str
    against: str
    finding: Finding | Literal["not testable"]
    how: str
    parts: tuple[Part, ...]


def find_claims(
    rows: Sequence[Row],
    configs: Sequence[Mapping[str, Any]],
    design: DesignConfig,
    unfit: Mapping[str, str],
    bins: tuple[Sequence[float], int],
    rng: np.random.Generator,
) -> list[Judged]:
    """Test the six claims, and the row outside their family.

    Args:
        rows: The configurations, the control first.
        configs: What each resolved to.
        design: May raise m above six.
        unfit: Why a label may enter no verdict.
        bins: Quoted pT edges in GeV, and the fewest tracks of a bin with a verdict.
        rng: Drives the bootstraps.

    Raises:
        UserError: See ``find_roles``.
    """
    by_role = {role: rows[at] for role, at in find_roles(configs).items()}
    m = max(len(CLAIMS), design.comparisons or 0)
    return [
        _test(claim, by_role, unfit, bins, 1 if claim is EXTRA else m, rng)
        for claim in (*CLAIMS, EXTRA)
    ]


def _test(
    claim: Claimed,
    by_role: Mapping[str, Row],
    unfit: Mapping[str, str],
    bins: tuple[Sequence[float], int],
    comparisons: int,
    rng: np.random.Generator,
) -> Judged:
    """One claim; without the other configuration it is not testable."""
    arm, control = by_role[CONTROL], by_role.get(claim.against)
    against = claim.against if control is None else control.label
    parts, read = [], []
    for asked in claim.parts:
        verdict, note, words = None, f"no configuration is '{claim.against}'", asked.words
        if control is not None:
            note = obstacle(asked.metric, arm, control, unfit)
            words += _more_words(asked.metric, arm, control, bins)
        if control is not None and not note:
            try:
                verdict = _verdict(asked, arm, control, bins, comparisons, rng)
            except UserError as error:
                note = str(error)
        parameters = arm.parameters - control.parameters if control is not None else 0
        effect = Effect(arm.label, against, asked.metric, parameters, verdict, note)
        if verdict is None:
            parts.append(Part(words, "not testable", "", effect))
        else:
            read.append(asked.read(verdict))
            parts.append(Part(words, read[-1].finding, read[-1].how, effect))
    whole = both(*read)
    testable = len(read) == len(parts) or whole.finding == "refuted"
    finding = whole.finding if testable else "not testable"
    return Judged(claim.name, claim.words, arm.label, against, finding, whole.how, tuple(parts))


def _verdict(
    asked: Asked,
    arm: Row,
    control: Row,
    bins: tuple[Sequence[float], int],
    comparisons: int,
    rng: np.random.Generator,
) -> Verdict:
    """Of one part; an error says why there is none."""
    rows = (arm, control)
    if asked.metric == SPREAD:
        if arm.folds is not None:
            raise UserError(
                "folds differ in their tracks, not only in their seeds; train without folds "
                "(data.split.folds=null)"
            )
        ours, theirs = (values_of(row.samples, R68.metric) for row in rows)
        return compare_spread(ours, theirs, rng, comparisons=comparisons)
    if asked.metric == TREND:
        found = Bins.find(arm, *bins)
        values = {row.label: found.values(row) for row in rows}
        events = found.event_means(rows, rng)
    else:
        values = {row.label: values_of(row.samples, asked.metric) for row in rows}
        events = event_means(rows, asked.metric, rng)
    return compare_rows(
        arm, control, values, events, MARGIN[asked.metric], comparisons, asked.better
    )


def _more_words(metric: str, arm: Row, control: Row, bins: tuple[Sequence[float], int]) -> str:
    """What a part adds to its words: its bins, or how many seeds there should be."""
    if metric == TREND and arm.samples:
        try:
            return Bins.find(arm, *bins).text()
        except UserError:
            return ""
    fewest = min(len(arm.samples), len(control.samples))
    if metric == SPREAD and arm.folds is None and fewest < SPREAD_SEEDS:
        return f" ({SPREAD_SEEDS} seeds each are asked for, here are {fewest})"
    return ""
