"""Conclusions on a claimed improvement, for intervals on every side of 0 and the margin."""

import math
from dataclasses import replace

import numpy as np
import pytest

from headsweep.stats.margins import Comparison
from headsweep.stats.superiority import joint, non_inferiority, superiority
from headsweep.stats.verdict import Verdict, compare

EPS = math.log(1.05)
TERMS = Comparison(EPS, comparisons=6)
VERDICT = compare(np.array([0.9, 1.0, 1.1]), np.array([0.95, 1.0, 1.05]), TERMS)


def with_interval(low: float, high: float) -> Verdict:
    return replace(VERDICT, sim_low=low, sim_high=high)


@pytest.mark.parametrize(
    ("low", "high", "finding", "how"),
    [
        (-0.04, 0.04, "refuted", "equivalent"),
        (-0.04, -0.01, "refuted", "equivalent"),
        (0.01, 0.04, "refuted", "equivalent"),
        (0.01, 0.09, "refuted", "opposite"),
        (-0.04, 0.09, "refuted", ""),
        (-0.09, -0.01, "supported", ""),
        (-0.09, 0.01, "undecided", ""),
        (-0.09, 0.09, "undecided", ""),
        (math.nan, math.nan, "undecided", ""),
        (0.2, 0.2, "undecided", ""),
    ],
)
def test_superiority(low: float, high: float, finding: str, how: str) -> None:
    claim = superiority(with_interval(low, high))
    assert (claim.finding, claim.how) == (finding, how)
    upward = replace(with_interval(-high, -low), comparison=replace(TERMS, better="higher"))
    assert superiority(upward).finding == finding
    assert claim.text().startswith(f"{finding} ({how})" if how else finding)


@pytest.mark.parametrize(
    ("low", "high", "finding"),
    [
        (-0.2, 0.04, "supported"),
        (0.01, 0.04, "supported"),
        (0.01, 0.2, "undecided"),
        (0.06, 0.2, "refuted"),
        (math.nan, math.nan, "undecided"),
    ],
)
def test_non_inferiority(low: float, high: float, finding: str) -> None:
    assert non_inferiority(with_interval(low, high)).finding == finding


def test_a_claim_of_two_parts_needs_joint() -> None:
    supported, undecided = with_interval(-0.3, -0.1), with_interval(-0.3, 0.3)
    opposite = with_interval(0.1, 0.3)
    yes, maybe, no = (superiority(v) for v in (supported, undecided, opposite))
    assert joint(yes, yes).finding == "supported"
    assert joint(yes, maybe).finding == "undecided"
    assert joint(yes, maybe, no).finding == "refuted"
    assert joint(yes, no).how == "opposite"
    assert joint(yes, no).parts == (supported, opposite)


def test_an_undecided_claim_says_what_it_takes() -> None:
    claim = superiority(VERDICT)
    assert claim.finding == "undecided"
    assert "a difference of the margin takes" in claim.text()
