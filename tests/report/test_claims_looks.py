"""The six claims with ``seeds=auto``: which look decides each."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache

import pytest

from headsweep.report.claims import ClaimResult
from headsweep.report.predictions import HeadRow
from headsweep.report.seed_looks import SeedLooks
from headsweep.stats.sequential import Looks
from helpers.claim_rows import N, arms, judged

pytestmark = pytest.mark.slow

UNTIL = SeedLooks(first=0, every=4, most=N)


def first_seeds(rows: Sequence[HeadRow], n: int) -> list[HeadRow]:
    return [replace(row, samples=row.samples[:n], planned=n) for row in rows]


def sizes(claim: ClaimResult) -> list[tuple[float, ...] | None]:
    """The looks behind each part of a claim."""
    found = [part.effect.verdict for part in claim.parts]
    return [v and v.comparison.looks and v.comparison.looks.sizes for v in found]


@cache
def looked_at(n: int) -> Mapping[str, ClaimResult]:
    """The claims with ``seeds=auto``, of the first n seeds."""
    return judged(first_seeds(arms(1.0), n), until=UNTIL)


@cache
def after_looks(sizes: tuple[float, ...]) -> Mapping[str, ClaimResult]:
    """The claims of the seeds of the last of some looks, which count as so many looks."""
    looks = Looks(sizes, N)
    return judged(first_seeds(arms(1.0), int(sizes[-1])), looks=lambda labels: looks)


@pytest.mark.parametrize("name", ["C1", "C2", "C4", "C5", "C6", "before"])
def test_seeds_auto_ends_a_claim_at_the_first_look_that_decides_it(name: str) -> None:
    found = looked_at(N)[name]
    assert found.finding == "supported"
    (looked,) = {*sizes(found)}
    assert looked is not None
    for k in range(1, len(looked) + 1):
        alone = after_looks(looked[:k])[name]
        assert alone.finding == ("supported" if k == len(looked) else "undecided")
    for ours, theirs in zip(found.parts, alone.parts, strict=True):
        pair = [part.effect.verdict for part in (ours, theirs)]
        ours_there, theirs_there = ((v and (v.delta, v.n_arm, v.low)) for v in pair)
        assert ours_there == pytest.approx(theirs_there, rel=0.01)


def test_a_decided_claim_keeps_its_finding_when_more_seeds_train() -> None:
    early, late = looked_at(4), looked_at(N)
    assert early["C6"] == late["C6"]
    assert early["C6"].parts[0].effect.shortfall == ""  # the look was complete


def test_stability_is_looked_at_last() -> None:
    spread = [looked_at(n)["C3"] for n in (4, 8, N)]
    assert [claim.finding for claim in spread] == ["undecided", "undecided", "supported"]
    assert sizes(spread[-1]) == [(4.0, 8.0, 12.0)]


def test_before_the_first_look_nothing_is_testable() -> None:
    found = looked_at(3)
    assert {claim.finding for claim in found.values()} == {"not testable"}
    assert "its first look takes 4 seeds" in found["C1"].parts[0].effect.note
