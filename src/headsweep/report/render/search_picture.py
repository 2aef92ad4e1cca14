"""The picture of a search: every trial, by its number or by its second objective."""

from collections.abc import Iterable, Mapping

import numpy as np

from headsweep.report.render.picture import (
    COLOURS,
    GREY,
    Axis,
    Line,
    Marker,
    Panel,
    Picture,
    Points,
    Series,
    log_axis,
)
from headsweep.report.render.run_pictures import metric_unit
from headsweep.store.outcome import Outcome
from headsweep.store.trials import Trials

MOST_BARS = 1000
"""Trials with error bars; of more nobody could tell the bars apart."""


def search(trials: Trials) -> Picture:
    """Every trial on validation, with the best so far or the Pareto front."""
    several = len(trials.objectives) > 1
    complete = _of(trials, "complete")
    pruned, failed = (_of(trials, state) for state in ("pruned", "failed"))
    shown = [o.values[0] for o in (complete if several else complete | pruned).values()]
    series: list[Series] = [_complete(complete, several)] if complete else []
    if pruned and not several:  # a pruned one has no value of the second objective
        series.append(_points("pruned", pruned, False, Marker(GREY, "x")))
    if failed and shown and not several:
        series.append(_failed(failed, max(shown)))
    if complete:
        series += [_best_line(trials, complete), _ringed(trials, several)]
    names = [(name, _objective_unit(name)) for name in trials.objectives]
    x = Axis("trial", "number")
    if several:
        x = log_axis(*names[1], [outcome.values[1] for outcome in complete.values()])
    y = log_axis(f"mean {names[0][0]}", names[0][1], shown)
    return Picture("search", "The search, on validation", _note(several), x, [Panel(y, series)])


def _of(trials: Trials, state: str) -> dict[int, Outcome]:
    """Trials of one state; a failed one has no value."""
    found = {n: o for n, o in trials.outcomes.items() if o.state == state}
    return {n: o for n, o in found.items() if o.values or state == "failed"}


def _points(label: str, chosen: Mapping[int, Outcome], several: bool, marker: Marker) -> Points:
    x = [o.values[1] if several else n for n, o in chosen.items()]
    texts = [f"trial {n}, {o.state}: {o.values[0]:.4g}" for n, o in chosen.items()]
    return Points(label, x, [o.values[0] for o in chosen.values()], marker, texts=texts)


def _complete(chosen: Mapping[int, Outcome], several: bool) -> Points:
    """The complete trials, with the standard deviation over their seeds as bars."""
    points = _points("complete", chosen, several, Marker(COLOURS[0]))
    spread = [o.spread[0] if o.spread else 0.0 for o in chosen.values()]
    if len(chosen) > MOST_BARS or not any(spread):
        return points
    y = np.array(points.y)
    return Points("complete", points.x, y, points.marker, y - spread, y + spread, points.texts)


def _failed(chosen: Mapping[int, Outcome], top: float) -> Points:
    """The failed trials at the upper edge."""
    texts = [f"trial {number}, failed" for number in chosen]
    return Points("failed", [*chosen], [top] * len(chosen), Marker(COLOURS[3], "plus"), texts=texts)


def _ringed(trials: Trials, several: bool) -> Points:
    """The trials that the report shows."""
    best = {number: trials.outcomes[number] for number in trials.best()}
    ring = Marker(COLOURS[1], filled=False, size=12)
    return _points("shown in the report", best, several, ring)


def _best_line(trials: Trials, complete: Mapping[int, Outcome]) -> Line:
    """The best so far, or the Pareto front."""
    if len(trials.objectives) > 1:
        front = sorted(tuple(trials.outcomes[n].values[1::-1]) for n in trials.best())
        return _steps("Pareto front", (x for x, _ in front), (y for _, y in front))
    best = np.minimum if trials.directions[0] == "minimize" else np.maximum
    values = best.accumulate([outcome.values[0] for outcome in complete.values()])
    return _steps("best so far", complete, values)


def _steps(label: str, x: Iterable[float], y: Iterable[float]) -> Line:
    return Line(label, [*x], [*y], COLOURS[1], width=1.5, steps=True, text=label)


def _note(several: bool) -> str:
    ringed = "Ringed: those in the report"
    bars = "bars: standard deviation over the seeds"
    if several:
        return f"Complete trials; {bars}. {ringed}. Line: the Pareto front."
    return (
        f"Blue: complete; {bars}. Grey crosses: pruned, at their last evaluation; plus signs at "
        f"the upper edge: failed. {ringed}. Line: the best so far."
    )


def _objective_unit(name: str) -> str:
    return "number" if name.startswith("params_") else metric_unit(name.removeprefix("val_"))
