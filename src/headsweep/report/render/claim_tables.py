"""The tested claims of a report in words."""

import math

from headsweep.report.claim_evidence import SPREAD
from headsweep.report.claims import CLAIMS, ClaimResult, PartResult
from headsweep.report.content import Report
from headsweep.report.render.sequential_tables import look_cell, looks_of
from headsweep.report.render.tables import NOTHING, Table, with_shortfall

ORDER = ("supported", "refuted", "undecided", "not testable")


def claims_answer(report: Report) -> str:
    """The findings on the six claims in one sentence."""
    parts = []
    for finding in ORDER:
        names = [
            _named(claim) for claim in report.claims[: len(CLAIMS)] if claim.finding == finding
        ]
        if names:
            parts.append(f"{finding}: {', '.join(names)}")
    return f"Of the document's claims {'; '.join(parts)}."


def _named(claim: ClaimResult) -> str:
    return f"{claim.name} ({claim.how})" if claim.how else claim.name


def claims_table(report: Report, title: str) -> Table:
    """Every part of every claim with its intervals and finding.

    Args:
        report: What has claims.
        title: Of the table.
    """
    rows = []
    sequential = any(looks_of(effect) for effect in report.effects)
    for claim in report.claims:
        for name, part in _names(claim).items():
            first = part is claim.parts[0]
            rows.append(
                [
                    name,
                    claim.words if first else "",
                    f"{claim.arm} against {claim.against}" if first else "",
                    part.words,
                    *_cells(part),
                    *([look_cell(part.effect)] if sequential else []),
                    _word(part) + with_shortfall(part.effect),
                    _word(claim) if first else "",
                ]
            )
    sizes = dict.fromkeys(
        part.effect.verdict.comparisons
        for claim in report.claims[: len(CLAIMS)]
        for part in claim.parts
        if part.effect.verdict is not None
    )
    m = " / ".join(map(str, sizes)) or NOTHING
    columns = ["", "claim", "contrast", "part", "change", "95% interval", f"m = {m}"]
    columns += ["SE of seeds / events", *(["look"] if sequential else []), "finding", "claim is"]
    return Table(title, columns, rows, _note(report))


def _names(claim: ClaimResult) -> dict[str, PartResult]:
    """Its parts: ``C1a`` and ``C1b``, or ``C2``."""
    letters = "ab" if len(claim.parts) > 1 else ""
    names = [f"{claim.name}{letter}" for letter in letters] or [claim.name]
    return dict(zip(names, claim.parts, strict=True))


def _cells(part: PartResult) -> list[str]:
    verdict = part.effect.verdict
    if verdict is None or math.isnan(verdict.low):
        return [NOTHING] * 4
    return [
        verdict.change(verdict.delta),
        verdict.range(verdict.low, verdict.high),
        verdict.range(verdict.sim_low, verdict.sim_high),
        verdict.errors(),
    ]


def _word(found: PartResult | ClaimResult) -> str:
    return f"{found.finding} ({found.how})" if found.how else found.finding


def _note(report: Report) -> str:
    parts = [part.effect for claim in report.claims for part in claim.parts]
    margins = {
        effect.verdict.change(effect.verdict.margin).lstrip("+"): None
        for effect in reversed(parts)
        if effect.verdict is not None
    }
    text = (
        "Change: of the first of the contrast over the second. Refuted: the interval for m claims "
        "excludes an improvement by the margin (equivalent: it lies inside the margin; opposite: "
        "it is on the other side of 0); supported: all of it is an improvement. A claim of two "
        "parts needs both. SE: standard errors. The last row is outside the family, m = 1."
    )
    if margins:
        wide = " (the wide one for the spread over seeds)" if len(margins) > 1 else ""
        text += f" Margin {', '.join(margins)}{wide}."
    tests = [
        f" {effect.verdict.test} test of the spread: p = {effect.verdict.p_value:.2g}."
        for effect in parts
        if effect.verdict is not None
        and effect.metric == SPREAD
        and not math.isnan(effect.verdict.p_value)
    ]
    text += "".join(tests)
    events = {
        effect.verdict.se_events is not None for effect in parts if effect.verdict is not None
    }
    if events == {True, False}:
        text += " Spread, gap and losses hold for this sample of events only."
    elif events == {False}:
        text += " All hold for this sample of events only."
    return text


def open_claims(report: Report) -> list[str]:
    """A line for each undecided part with the reason and the seeds that it would take."""
    return [
        f"{name}, {part.words}, against {claim.against}: {_why(part)}."
        for claim in report.claims
        for name, part in _names(claim).items()
        if part.finding in ("undecided", "not testable")
    ]


def _why(part: PartResult) -> str:
    verdict = part.effect.verdict
    if verdict is None:
        note = part.effect.note
        return note if note.startswith(part.finding) else f"{part.finding}: {note}"
    if verdict.needed is not None:
        return f"undecided: {verdict.needed.text()}"
    # "Not worse by the margin" can be open where "worse" is not.
    return verdict.reason or "undecided: it is worse, but the interval includes the margin"
