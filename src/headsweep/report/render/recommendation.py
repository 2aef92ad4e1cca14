"""Which head to take: what the verdicts of a report say on that, and no more."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from headsweep.report.comparisons import Effect
from headsweep.report.content import Report
from headsweep.report.family import NEEDS_ALL
from headsweep.report.render import tables
from headsweep.stats.factorial import BOTH

State = Literal["better", "mixed", "equivalent", "undecided", "none", "worse"]
"""Of an arm against its control: ``mixed`` is better in one metric and worse in another."""

Pair = tuple[str, str]
"""Arm and control."""

STATES: dict[State, str] = {
    "mixed": "better in one metric and worse in another: {}; no verdict says which matters more",
    "equivalent": "equivalent: {}",
    "undecided": "undecided: {}",
    "none": "without a verdict: {}",
    "worse": "worse: {}",
}
"""Words for all other arms, in this order."""


def recommendation(report: Report) -> str:
    """Which head to take and why; or that no verdict says so, and what would."""
    if report.search is not None:
        return (
            "Take none of these trials yet: they were chosen by the figures that they are shown "
            f"with. The next step, on fresh seeds and events: {report.origin.confirm}"
        )
    if report.claims:
        return (
            "No head to take follows from the claims: each is about one property of one pair of "
            "heads. sweeps=presets compares whole heads."
        )
    if not report.effects:
        alone = f"{report.heads[0].label} is compared with no other head"
        return f"No head can be named: {NEEDS_ALL if len(report.heads) > 1 else alone}."
    states = _states(report.effects)
    if {*states.values()} == {"none"}:
        notes = dict.fromkeys(_reason(effect) for effect in report.effects)
        return f"No head can be named: no comparison has a verdict ({'; '.join(notes)})."
    of_design = {"factorial": _levels, "path": _along_the_path}
    return of_design.get(report.design, _against_the_control)(report, states)


def _against_the_control(report: Report, states: Mapping[Pair, State]) -> str:
    """The control, unless an arm is better."""
    control = report.effects[0].control
    ranked = sorted(_arms(states, "better"), key=lambda arm: _gain(report, (arm, control)))
    if not ranked:
        best = control
        open_ones = [*_arms(states, "undecided"), *_arms(states, "none"), *_arms(states, "mixed")]
        until = ", until a verdict says otherwise" if open_ones else ""
        text = (
            f"Take {control}, the control ({_size(report, control)}){until}: no other head is "
            "shown to be better."
        )
    else:
        best, *others = ranked
        text = (
            f"Take {best} ({_size(report, best)}): it is better than {control}, the control "
            f"({_size(report, control)}), by {_how(report, (best, control), 'better')}."
        )
        if others:
            named = ", ".join(
                f"{arm} ({_how(report, (arm, control), 'better')}; {_size(report, arm)})"
                for arm in others
            )
            text += f" Also better than {control}: {named}; no verdict compares them with {best}."
    return " ".join([text, *_others(report, states, f"Against {control}")])


def _along_the_path(report: Report, states: Mapping[Pair, State]) -> str:
    """The end of an unbroken chain of better steps from the first head; interval by interval."""
    steps = [*states]
    first = steps[0][1]
    better = 0
    while better < len(steps) and states[steps[better]] == "better":
        better += 1
    if better == 0:
        text = (
            f"Take {first}, where the path begins ({_size(report, first)}), until a verdict says "
            f"otherwise: the step to {steps[0][0]} is not shown to be better."
        )
    else:
        best = steps[better - 1][0]
        chain = ", ".join(
            f"{arm} ({_how(report, (arm, c), 'better')})" for arm, c in steps[:better]
        )
        text = (
            f"Take {best} ({_size(report, best)}): from {first} ({_size(report, first)}) every "
            f"step up to it is better than the one before: {chain}."
        )
    rest = {pair: states[pair] for pair in steps[better:]}
    if later := _arms(rest, "better"):
        text += (
            f" Later steps that are better than the one before: {', '.join(later)}; that they are "
            "better than the head above is not shown."
        )
    return " ".join([text, *_others(report, rest, "Other steps")])


def _levels(report: Report, states: Mapping[Pair, State]) -> str:
    """Levels of settings that are better on average; never one cell of the design."""
    main = {pair: state for pair, state in states.items() if pair[1] != BOTH}
    won = [
        f"{a} than {b} ({_how(report, (a, b), 'better')})"
        for a, b in main
        if main[a, b] == "better"
    ]
    won += [
        f"{b} than {a} ({_how(report, (a, b), 'worse')})" for a, b in main if main[a, b] == "worse"
    ]
    found = (
        f"better is {', '.join(won)}" if won else "no level is shown to be better than the other"
    )
    found += "".join(
        f"; {text}" for text in _lists(main, ("mixed", "equivalent", "undecided", "none"))
    )
    shown = [a for (a, b), s in states.items() if b == BOTH and s in ("better", "worse", "mixed")]
    depends = f" The effects depend on each other: {', '.join(shown)}." if shown else ""
    return (
        f"No single head can be named, as the verdicts are on levels of settings. Averaged over "
        f"the other settings, {found}.{depends}"
    )


def _others(report: Report, states: Mapping[Pair, State], where: str) -> list[str]:
    """A sentence on all arms that are not better; for equivalent ones their sizes."""
    sized = {
        pair: f"{pair[0]} ({_size(report, pair[0])})" if state == "equivalent" else pair[0]
        for pair, state in states.items()
    }
    named = {(sized[pair], pair[1]): state for pair, state in states.items()}
    lists = _lists(named, STATES)
    return [f"{where}, {'; '.join(lists)}."] if lists else []


def _lists(states: Mapping[Pair, State], chosen: Iterable[State]) -> list[str]:
    """Arms of the given states, in words."""
    found = {state: _arms(states, state) for state in chosen}
    return [STATES[state].format(", ".join(arms)) for state, arms in found.items() if arms]


def _arms(states: Mapping[Pair, State], wanted: State) -> list[str]:
    return [arm for (arm, _), state in states.items() if state == wanted]


def _states(effects: Sequence[Effect]) -> dict[Pair, State]:
    """Every comparison of the design over all of its metrics, in their order."""
    words: dict[Pair, set[str]] = {}
    for effect in effects:
        words.setdefault((effect.arm, effect.control), set()).add(_word(effect))
    return {pair: _state(found) for pair, found in words.items()}


def _state(words: set[str]) -> State:
    if {"better", "worse"} <= words:
        return "mixed"
    for word in ("better", "worse"):
        if word in words:
            return word
    if words == {"none"}:
        return "none"
    return "equivalent" if words == {"equivalent"} else "undecided"


def _word(effect: Effect) -> str:
    """The verdict, ``none`` where there is no interval to read it from."""
    return "none" if effect.verdict is None or effect.verdict.reason else effect.verdict.word


def _reason(effect: Effect) -> str:
    return effect.note if effect.verdict is None else effect.verdict.reason


def _of(report: Report, pair: Pair) -> list[Effect]:
    return [effect for effect in report.effects if (effect.arm, effect.control) == pair]


def _gain(report: Report, pair: Pair) -> tuple[float, ...]:
    """By which better arms are ranked: the changes of all metrics in which one is better."""
    found = []
    for effect in _of(report, pair):
        won = effect.verdict if _word(effect) == "better" else None
        sign = 1.0 if won is None or won.better == "lower" else -1.0
        found.append(0.0 if won is None else sign * won.delta)
    return tuple(found)


def _how(report: Report, pair: Pair, word: str) -> str:
    """Changes with their widened intervals: ``-6.4% in r68 of q/pT (-10.7% to -2.0%)``."""
    found = [(e.metric, e.verdict) for e in _of(report, pair) if e.verdict and _word(e) == word]
    return " and ".join(
        f"{v.change(v.delta)} in {tables.words_of(metric)} ({v.range(v.sim_low, v.sim_high)})"
        for metric, v in found
    )


def _size(report: Report, label: str) -> str:
    """Trained parameters of a head, in words."""
    return next(f"{row.parameters:,} parameters" for row in report.heads if row.label == label)
