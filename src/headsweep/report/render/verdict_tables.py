"""The comparisons of a report in words: the answer, the verdicts, and whether they are fair."""

import math
from collections import Counter

from headsweep.config import LossConfig
from headsweep.report.comparisons import Effect
from headsweep.report.content import Report
from headsweep.report.fairness import Fairness
from headsweep.report.family import NEEDS_ALL
from headsweep.report.render import claim_tables, tables
from headsweep.report.render.sequential_tables import look_cell, looks_of, looks_sentence
from headsweep.report.render.tables import NOTHING, Table

SEEDS_NOTE = (
    " n to decide: seeds or blocks of each arm that are enough for either verdict with a power of "
    "80%; in brackets their range, from an 80% interval of the spread."
)

ORDER = ("better", "worse", "equivalent", "undecided")

NEXT_LOOK = " More seeds are a second look: the numbers that would decide allow for its level."


def answer(report: Report) -> str:
    """The answer of a report, and what is not in its figures, each in a sentence."""
    return " ".join([_answer(report), *tables.shortfalls(report)])


def _answer(report: Report) -> str:
    if report.search is not None:
        return "No verdict: these trials were chosen by the figures that they are shown with."
    if not report.effects and len(report.heads) > 1:
        return f"No verdict: {NEEDS_ALL}."
    if not report.effects:
        return "No verdict: one configuration, nothing to compare it with."
    if report.claims:
        parts = [claim_tables.claims_answer(report)]
    else:
        parts = [_sentence(report, metric) for metric in _metrics(report)]
    return " ".join([*parts, looks_sentence(report)]).strip()


def _metrics(report: Report) -> list[str]:
    return list(dict.fromkeys(effect.metric for effect in report.effects))


def _sentence(report: Report, metric: str) -> str:
    effects = [effect for effect in report.effects if effect.metric == metric]
    controls = {effect.control for effect in effects}
    against = f", against {effects[0].control}" if len(controls) == 1 else ""
    parts = []
    for word in ORDER:
        names = [
            _named(e, len(controls) > 1) for e in effects if e.verdict and e.verdict.word == word
        ]
        if names:
            parts.append(f"{word}: {', '.join(names)}")
    if none := [effect.arm for effect in effects if effect.verdict is None]:
        parts.append(f"no verdict: {', '.join(none)}")
    return f"In {metric}{against}: {'; '.join(parts)}."


def _named(effect: Effect, several: bool) -> str:
    assert effect.verdict is not None
    than = f" than {effect.control}" if several else ""
    return f"{effect.arm}{than} ({_change(effect, effect.verdict.delta)})"


def verdict_table(report: Report) -> Table:
    """Every comparison with its intervals and verdict."""
    if report.claims:
        return claim_tables.claims_table(report, _title(report, "Claims"))
    rows = []
    sequential = any(looks_of(effect) for effect in report.effects)
    for effect in report.effects:
        verdict = effect.verdict
        cells = [NOTHING] * 5
        if verdict is not None and not math.isnan(verdict.low):
            share = NOTHING if verdict.improvement is None else f"{verdict.improvement.share:.2f}"
            cells = [
                _change(effect, verdict.delta),
                _range(effect, verdict.low, verdict.high),
                _range(effect, verdict.sim_low, verdict.sim_high),
                verdict.errors(),
                share,
            ]
        to_decide = NOTHING if verdict is None or not verdict.needed else verdict.needed.both()
        rows.append(
            [
                effect.arm,
                effect.control,
                effect.metric,
                *cells,
                f"{effect.parameters:+,}",
                *([look_cell(effect)] if sequential else []),
                _word(effect) + tables.with_shortfall(effect),
                to_decide or "no number",
            ]
        )
    sizes = {e.verdict.comparisons: None for e in report.effects if e.verdict is not None}
    m = " / ".join(map(str, sizes)) or "–"
    columns = ["", "against", "metric", "change", "95% interval", f"m = {m}"]
    columns += ["SE of seeds / events", "P(better)", "parameters"]
    columns += [*(["look"] if sequential else []), "verdict", "n to decide"]
    if all(row[-1] == NOTHING for row in rows):
        columns, rows = columns[:-1], [row[:-1] for row in rows]
    return Table(_title(report), columns, rows, _note(report))


def _title(report: Report, word: str = "Verdicts") -> str:
    """Title with the features, target and steps that the verdicts hold for."""
    known = report.fairness
    losses = [f.loss for f in known]
    what = [
        f"{name} {' / '.join(dict.fromkeys(values))}"
        for name, values in (
            ("features", [f.features for f in known]),
            ("target", [f.target for f in known]),
            ("loss", losses if {*losses} != {LossConfig.name} else []),
            ("steps", [f"{f.steps:,}" for f in known]),
        )
        if values
    ]
    states = Counter(f.state for f in known)
    parts = (
        (sum(not math.isnan(f.better_rate) for f in known), "not at their best rate"),
        (sum(bool(f.seen) for f in known), "with other rates tried on these seeds"),
        (states["not converged"], "not converged"),
        (states["not shown"], "not shown to be converged"),
        (states["not checked"], "not checked for convergence"),
    )
    state = ", ".join(f"{n} of {len(known)} {words}" for n, words in parts if n) or "all converged"
    title = f"{word}{report.on}"
    return f"{title} ({', '.join([*what, state])})" if known else title


def _note(report: Report) -> str:
    found = [effect.verdict for effect in report.effects if effect.verdict is not None]
    if not found:
        return ""
    events = [verdict.se_events for verdict in found if verdict.se_events is not None]
    layers = "seeds and events" if len(events) == len(found) else "seeds, of some not of events"
    layers = layers if events else f"{found[0].unit}; they hold for this sample of events only"
    margins = {
        effect.metric: _change(effect, effect.verdict.margin).lstrip("+")
        for effect in report.effects
        if effect.verdict is not None
    }
    words = ", ".join(f"{value} of {metric}" for metric, value in margins.items())
    failed = any(row.failed for row in report.heads)
    failures = " and for what the failed seeds could have given" if failed else ""
    undecided = [verdict for verdict in found if verdict.needed is not None]
    more = SEEDS_NOTE if undecided else ""
    more += NEXT_LOOK if any(verdict.comparison.looks for verdict in undecided) else ""
    return (
        f"Intervals: {found[0].test}, from {layers}. The verdict is read from the one widened for "
        f"m comparisons{failures}; margin {words}. SE: standard errors; without one of events the "
        "interval holds for this sample of events only. P(better): the chance that one new run "
        f"beats one of the control.{more}"
    )


def brief(effect: Effect) -> str:
    """The verdict of a comparison with its size: ``better (-5.2%)``."""
    if effect.verdict is None or math.isnan(effect.verdict.delta):
        return _word(effect)
    return f"{_word(effect)} ({_change(effect, effect.verdict.delta)})"


def _word(effect: Effect) -> str:
    if effect.verdict is None:
        return "none"
    word = effect.verdict.word
    return f"{word}, negligible" if effect.verdict.real_but_negligible else word


def open_questions(report: Report) -> list[str]:
    """A line for each undecided comparison with the reason and the seeds that it would take."""
    if report.claims:
        return claim_tables.open_claims(report)
    lines = []
    for effect in report.effects:
        verdict, what = effect.verdict, f"{effect.arm} in {effect.metric}"
        if verdict is None:
            lines.append(f"{what}, no verdict: {effect.note}.")
        elif verdict.reason:
            lines.append(f"{what}, {verdict.reason}.")
        elif verdict.needed is not None:
            lines.append(f"{what} is undecided: {verdict.needed.text()}.")
    return lines


def _change(effect: Effect, value: float) -> str:
    assert effect.verdict is not None
    return effect.verdict.change(value)


def _range(effect: Effect, low: float, high: float) -> str:
    return f"{_change(effect, low)} to {_change(effect, high)}"


def confirmation_table(report: Report) -> Table:
    """Optimism of the search's values on fresh seeds, and shift to other events."""
    found = report.confirmation
    assert found is not None
    compared = [
        *((row, "optimism: search", row.search, row.optimism) for row in found.rows),
        *((row, f"shift: {found.split}", row.scored, row.shift) for row in found.rows),
    ]
    planned = {row.label: row.planned for row in report.heads}
    rows = [
        [
            f"{row.label}, {what}",
            row.val.text(),
            tables.count(row.val.n, planned[row.label]),
            there.text(),
            f"{there.n}",
            change.text(),
        ]
        for row, what, there, change in compared
        if there and change
    ]
    events = "both samples of events" if found.events else "seeds only; for these events only"
    note = (
        f"{found.metric}, mean and 95% t interval over n seeds, against the mean over fresh seeds "
        f"of the same configuration on val. Optimism: what the search {found.study} had, on the "
        "same val split; the trials were chosen by it. Shift: the same heads, whose weights were "
        f"kept by their loss on val, on {found.split}. In brackets 95% intervals, of the optimism "
        f"from seeds (val is the same), of the shift from seeds and {events}."
    )
    columns = ["", "val, fresh seeds", "n", "there", "n", "change"]
    return Table(f"Optimism, and shift to {found.split}{report.on}", columns, rows, note)


def fairness_table(report: Report) -> Table:
    """Budget, rate and convergence of each configuration."""
    rows = [_fair(report, found) for found in report.fairness]
    note = (
        "Rate: the mean r68 on validation, of all rates over the same seeds, which this comparison "
        "does not use, as a rate that was chosen by its seeds would be flattered; no verdict "
        "names a head for which another rate is better by the same test as a verdict. Converged: "
        "the 90% interval of the change of r68 on validation with twice the steps, in square "
        "brackets, lies within 2%; not converged: it lies beyond 2%, and no verdict names the "
        "head; not shown: neither, with the seeds at each length that show it if nothing changes."
    )
    if len({tuple(found.rates) for found in report.fairness if found.rates}) > 1:
        note += " The rates that were tried are not the same for all."
    columns = ["", "steps", "parameters", "learning rate", "chosen", "twice the steps"]
    return Table("Are the budgets fair?", columns, rows, note)


def _fair(report: Report, found: Fairness) -> list[str]:
    parameters = next(row.parameters for row in report.heads if row.label == found.label)
    return [
        found.label,
        f"{found.steps:,}",
        f"{parameters:,}",
        f"{found.rate:g}",
        found.choice(),
        found.convergence(),
    ]
