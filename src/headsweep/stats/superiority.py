"""Superiority and non-inferiority tests of a claimed improvement."""

from dataclasses import dataclass
from typing import Literal

from headsweep.stats.verdict import Verdict

Finding = Literal["refuted", "supported", "undecided"]


@dataclass(frozen=True)
class Conclusion:
    """The conclusion on a claim: refuted, supported or undecided.

    Attributes:
        finding: refuted, supported or undecided.
        how: Of an improvement that is refuted: ``equivalent``, ``opposite``, or empty where an
            improvement of the margin is excluded and no more can be said.
        parts: The comparisons behind it.
    """

    finding: Finding
    how: str
    parts: tuple[Verdict, ...]

    def text(self) -> str:
        """The finding with its comparisons in words."""
        head = f"{self.finding} ({self.how})" if self.how else self.finding
        return "; ".join([head, *(f"[{part.text()}]" for part in self.parts)])


def superiority(verdict: Verdict) -> Conclusion:
    """Test that the arm is better than the control.

    Refuted if the whole simultaneous interval excludes an improvement of the margin: equivalent
    if it lies inside +-margin, opposite if the arm is worse. Else supported if all of it is an
    improvement, else undecided. ``needed`` of the verdict says what it would take.
    """
    low, high = _oriented(verdict)
    if not low < high:
        return Conclusion("undecided", "", (verdict,))
    if low > -verdict.margin:
        how = "equivalent" if high < verdict.margin else "opposite" if low > 0 else ""
        return Conclusion("refuted", how, (verdict,))
    return Conclusion("supported" if high < 0 else "undecided", "", (verdict,))


def non_inferiority(verdict: Verdict) -> Conclusion:
    """Test that the arm is not worse than the control by the margin.

    Supported if the whole simultaneous interval is below it, refuted if the whole is above.
    """
    low, high = _oriented(verdict)
    finding: Finding = "undecided"
    if low < high < verdict.margin:
        finding = "supported"
    elif verdict.margin < low < high:
        finding = "refuted"
    return Conclusion(finding, "", (verdict,))


def joint(*conclusions: Conclusion) -> Conclusion:
    """The conclusion on several parts: refuted if one of them is, supported if all are."""
    findings = {one.finding for one in conclusions}
    finding: Finding = "undecided"
    if "refuted" in findings:
        finding = "refuted"
    elif findings == {"supported"}:
        finding = "supported"
    hows = dict.fromkeys(one.how for one in conclusions if one.finding == "refuted" and one.how)
    return Conclusion(
        finding, ", ".join(hows), tuple(part for one in conclusions for part in one.parts)
    )


def _oriented(verdict: Verdict) -> tuple[float, float]:
    """The simultaneous interval with improvements below 0."""
    if verdict.better == "lower":
        return verdict.sim_low, verdict.sim_high
    return -verdict.sim_high, -verdict.sim_low
