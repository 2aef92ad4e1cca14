"""Standing of a sweep with ``seeds=auto``: what is open, and how many seeds train on."""

from pathlib import Path

from headsweep.report.build import build_report
from headsweep.report.comparisons import Effect
from headsweep.report.content import Report
from headsweep.report.seed_looks import SeedLooks
from headsweep.store.runs import read_spec
from headsweep.sweep.rounds import Standing


def find_standing(folder: Path) -> Standing:
    """Look at the verdicts of a sweep, which its ledger then knows.

    Args:
        folder: ``root/sweeps/<name>``.

    Raises:
        UserError: Nothing can be compared.
    """
    looks = SeedLooks.of(read_spec(folder))
    assert looks is not None
    report = build_report(folder, folder.parents[1])
    return Standing(_going_on(report, looks), _rows(report))


def _going_on(report: Report, looks: SeedLooks) -> dict[int, int]:
    """Seeds of the jobs of all comparisons that are open, by number."""
    numbers = {head.label: [int(job) for job in head.jobs] for head in report.heads}
    found: dict[int, int] = {}
    for effect in _open_effects(report):
        if (n := _next_size(effect, looks)) is not None:
            for number in numbers[effect.arm] + numbers[effect.control]:
                found[number] = max(n, found.get(number, 0))
    return found


def _open_effects(report: Report) -> list[Effect]:
    """Comparisons that are undecided; of claims the undecided parts of those that are."""
    if report.claims:
        return [
            part.effect
            for claim in report.claims
            if claim.finding == "undecided"
            for part in claim.parts
            if part.finding == "undecided"
        ]
    return [e for e in report.effects if e.verdict is not None and e.verdict.word == "undecided"]


def _next_size(effect: Effect, looks: SeedLooks) -> int | None:
    """Seeds of the next look at an undecided comparison; None where none follows."""
    found = effect.verdict
    if found is None or found.comparison.looks is None:
        return None
    if found.needed is not None and found.needed.never:
        return None
    n = int(found.comparison.looks.sizes[-1])
    return looks.next_size(n) if n < looks.most else None


def _rows(report: Report) -> list[list[str]]:
    """Each comparison as cells, a part of a claim with its finding on it."""
    if report.claims:
        return [
            _cells(part.effect, part.finding) for claim in report.claims for part in claim.parts
        ]
    return [
        _cells(effect, "" if effect.verdict is None else effect.verdict.word)
        for effect in report.effects
    ]


def _cells(effect: Effect, word: str) -> list[str]:
    """A comparison as cells: arm, control, metric, ``word`` or why there is none, seeds."""
    found = effect.verdict
    if found is None or found.comparison.looks is None:
        return [effect.arm, effect.control, effect.metric, f"none: {effect.note}", ""]
    n = found.comparison.looks.sizes[-1]
    words = f"{word}: {found.change(found.delta)}"
    if word == "undecided":
        never = found.needed is not None and found.needed.never
        words += " (no number of seeds settles this)" if never else ""
    return [effect.arm, effect.control, effect.metric, words, f"{n:.0f}"]
