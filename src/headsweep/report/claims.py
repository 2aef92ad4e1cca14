"""The six claims of the document, each tested on the runs of a sweep (``design.kind=claims``).

Delta = mean ln m(conservative) - mean ln m(the other): a claimed improvement is a Delta below 0.
``sweep/claim_roles.py`` finds the configurations that a claim compares.
"""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from headsweep.config import DesignConfig
from headsweep.errors import UserError
from headsweep.report.claim_evidence import (
    R68,
    SPREAD,
    SPREAD_SEEDS,
    TREND,
    ClaimPart,
    Evidence,
    Terms,
)
from headsweep.report.comparisons import Effect, LooksAt
from headsweep.report.family import family_size
from headsweep.report.predictions import HeadRow
from headsweep.report.pt_trend import PtTrend
from headsweep.report.seed_looks import SeedLooks
from headsweep.stats.bins import Bins
from headsweep.stats.sequential import Looks
from headsweep.stats.superiority import (
    Conclusion,
    Finding,
    joint,
    non_inferiority,
)
from headsweep.sweep.claim_roles import CONTROL, find_roles


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
    until: SeedLooks | None = None,
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
        until: The looks of ``seeds=auto``, of which the first that decides a claim gives its
            finding; None for a finding on all members.

    Raises:
        UserError: See ``find_roles``.
    """
    by_role = {role: rows[at] for role, at in find_roles(configs).items()}
    m = family_size(design, len(rows), len(CLAIMS))
    found = []
    for claim in (*CLAIMS, EXTRA):
        # With looks every claim has the same resamples, whatever is decided before it.
        own = rng if until is None else deepcopy(rng)
        terms = Terms(objections, bins, 1 if claim is EXTRA else m, own)
        found.append(_test(claim.on(design.split), by_role, terms, looks, until))
    return found


def _test(
    claim: Claim,
    by_role: Mapping[str, HeadRow],
    terms: Terms,
    looks: LooksAt,
    until: SeedLooks | None,
) -> ClaimResult:
    """Test one claim; without the other configuration, or its first seeds, it is not testable."""
    arm, control = by_role[CONTROL], by_role.get(claim.against)
    if control is None:
        return _untested(claim, arm.label, claim.against, f"no configuration is '{claim.against}'")
    evidence = [Evidence.collect(part, arm, control, terms) for part in claim.parts]
    if until is None:
        return _conclude(claim, evidence, terms, looks([arm.label, control.label]))
    found = _untested(
        claim, arm.label, control.label, f"its first look takes {until.every} seeds each"
    )
    for now, masks in until.available((arm, control)):
        found = _conclude(
            claim, [one.first(until, now, masks, terms) for one in evidence], terms, now
        )
        if found.finding != "undecided":
            break
    return found


def _untested(claim: Claim, arm: str, against: str, note: str) -> ClaimResult:
    parts = [
        PartResult(part.words, "not testable", "", Effect(arm, against, part.metric, 0, None, note))
        for part in claim.parts
    ]
    return ClaimResult(claim.name, claim.words, arm, against, "not testable", "", tuple(parts))


def _conclude(
    claim: Claim, evidence: Sequence[Evidence], terms: Terms, looks: Looks | None
) -> ClaimResult:
    """The finding on a claim from its parts; ``looks`` are those that were taken until now."""
    parts, conclusions = [], []
    for one in evidence:
        arm, control = one.arm, one.control
        verdict, note = one.verdict(terms, looks)
        words = one.part.words + _more_words(one.part.metric, arm, control, terms.bins)
        parameters = arm.parameters - control.parameters
        effect = Effect(
            arm.label, control.label, one.part.metric, parameters, verdict, note, one.lost
        )
        if verdict is None:
            parts.append(PartResult(words, "not testable", "", effect))
        else:
            found = one.part.test(verdict)
            if one.part.metric == SPREAD and _too_early(looks):
                found = Conclusion("undecided", "", found.parts)
            conclusions.append(found)
            parts.append(PartResult(words, found.finding, found.how, effect))
    whole = joint(*conclusions)
    testable = len(conclusions) == len(parts) or whole.finding == "refuted"
    finding = whole.finding if testable else "not testable"
    labels = evidence[0].arm.label, evidence[0].control.label
    return ClaimResult(claim.name, claim.words, *labels, finding, whole.how, tuple(parts))


def _too_early(looks: Looks | None) -> bool:
    """True at a look with fewer seeds than the claim on stability asks for, if not the last one."""
    return looks is not None and looks.sizes[-1] < min(SPREAD_SEEDS, looks.planned)


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
