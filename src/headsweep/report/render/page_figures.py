"""The interactive pictures of a report, one function each: units on every axis."""

import math
import textwrap
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from html import escape

from headsweep.report.comparisons import Effect
from headsweep.report.content import HeadSummary, Report
from headsweep.report.render import tables
from headsweep.report.render.page_axes import (
    PLAIN,
    TITLE,
    Figure,
    Linear,
    Style,
    Trace,
    bin_axis,
    box,
    grey,
    head_traces,
    line_trace,
    log_axis,
    make_figure,
    marker,
    means,
    named_figure,
    numbers,
    point_trace,
    reference_traces,
    styles,
)
from headsweep.report.render.plots import COLOURS
from headsweep.report.values import REFERENCE_PT
from headsweep.stats.verdict import Verdict
from headsweep.store.trials import Trials


@dataclass(frozen=True)
class Picture:
    """A figure with its words.

    Attributes:
        name: Its identifier in the page.
        title: What it shows.
        note: How to read it; may be empty.
        figure: ``data`` and ``layout`` of plotly.js.
    """

    name: str
    title: str
    note: str
    figure: Figure


def main_pictures(report: Report) -> list[Picture]:
    """What comes first: resolution, biases, charges, and tails."""
    return [
        resolution(report),
        scale_bias(report),
        charge_misid(report),
        sagitta_bias(report, "eta"),
        sagitta_bias(report, "phi"),
        tails(report),
    ]


def resolution(report: Report) -> Picture:
    """r68 against pT on the tracks that the classical reference can use, for all."""
    y = log_axis("r68 of q/pT [relative]", means(report, "qoverpt_r68", REFERENCE_PT))
    data = head_traces(report, "qoverpt_r68", REFERENCE_PT) + reference_traces(
        report, "qoverpt_r68", REFERENCE_PT
    )
    note = "All on the same tracks: those that the classical reference can use."
    figure = make_figure(data, bin_axis(report, REFERENCE_PT), y, grey(report, REFERENCE_PT))
    return Picture("resolution", "q/pT resolution against pT", note, figure)


def scale_bias(report: Report) -> Picture:
    """Median relative error of q/pT against pT."""
    scale = Linear(10.0, means(report, "scale_bias", "pt", 100))
    data = head_traces(report, "scale_bias", "pt", 100, scale) + reference_traces(
        report, "scale_bias", "pt", 100, scale
    )
    y = scale.axis("median q/pT error [%]")
    figure = make_figure(data, bin_axis(report, "pt"), y, grey(report, "pt"))
    note = "Best at 0; logarithmic beyond ±10%. Without the constant predictor."
    return Picture("scale_bias", "Scale bias against pT", note, figure)


def charge_misid(report: Report) -> Picture:
    """Charge misidentification against pT."""
    data = head_traces(report, "charge_misid", "pt", 100) + reference_traces(
        report, "charge_misid", "pt", 100
    )
    y = {"title": {"text": "wrong charge [%]"}, "rangemode": "nonnegative"}
    figure = make_figure(data, bin_axis(report, "pt"), y, grey(report, "pt"))
    note = "The constant predictor, which has no charge, is left out."
    return Picture("charge_misid", "Charge misidentification against pT", note, figure)


def sagitta_bias(report: Report, axis: str) -> Picture:
    """Sagitta bias in bins of an angle, for each charge."""
    names = {"sagitta_bias_plus": "", "sagitta_bias_minus": "-open"}
    values = [v for name in names for v in means(report, name, axis)]
    scale = Linear(1.0, values)
    data = [
        trace
        for name, suffix in names.items()
        for trace in head_traces(report, name, axis, 1.0, scale, suffix)
    ]
    figure = make_figure(data, bin_axis(report, axis), scale.axis("sagitta bias [1/TeV]"), [])
    if axis == "eta":
        figure["layout"]["shapes"] = grey(report, axis)
    note = "Filled: positive, open: negative. Best at 0; logarithmic beyond ±1."
    return Picture(f"sagitta_{axis}", f"Sagitta bias by charge against {axis}", note, figure)


def tails(report: Report) -> Picture:
    """Outliers, and how many of the true tracks have an estimate, against |eta|."""
    data = []
    for name, yaxis in (("outlier_fraction", "y"), ("efficiency", "y2")):
        for traces in (head_traces, reference_traces):
            data += [{**t, "yaxis": yaxis} for t in traces(report, name, "abs_eta", 100)]
    figure = make_figure(
        data,
        bin_axis(report, "abs_eta"),
        {"title": {"text": "outliers [%]"}, "domain": [0, 0.56], "rangemode": "nonnegative"},
        grey(report, "abs_eta"),
    )
    figure["layout"]["yaxis2"] = {
        **PLAIN,
        "title": {"text": "efficiency [%]", **TITLE},
        "domain": [0.66, 1],
        "range": [0, 105],
        "anchor": "x",
    }
    inputs = [row.inputs.partition(";")[0] for row in report.heads if row.inputs]
    note = (
        "Outliers: |relative q/pT error| > 0.5. Efficiency: share of the true tracks that were "
        f"found and have an estimate. Overall, {'; '.join(dict.fromkeys(inputs))}."
    )
    return Picture("tails", "Outliers and efficiency against |eta|", note, figure)


def effects(report: Report, metric: str) -> Picture:
    """Every comparison in one metric with both intervals and the margin."""
    found = [(e, verdict) for e, verdict in _drawable(report) if e.metric == metric]
    first, verdict = found[0]
    logs, several = verdict.scale == "log", len({effect.control for effect, _ in found}) > 1
    unit, factor = ("percentage points", 100) if metric in tables.PERCENT else (_unit(metric), 1)

    def change(value: float) -> float:
        return 100 * math.expm1(value) if logs else factor * value

    m = max(v.comparisons for _, v in found)
    ends = [change(end) for _, v in found for end in (v.sim_low, v.sim_high, v.delta)]
    margin = change(verdict.margin)
    place = Linear(float(f"{2 * margin:.1g}"), ends)
    names, data = [], []
    for row, (effect, verdict) in enumerate(found):
        name = f"{effect.arm} – {effect.control}" if several else effect.arm
        names.append(name)
        text = f"{escape(effect.arm)}: {change(verdict.delta):+.3g}, {verdict.word}"
        intervals = ((verdict.sim_low, verdict.sim_high, 1.5), (verdict.low, verdict.high, 5))
        data += [
            line_trace([place(change(low)), place(change(high))], [row, row], width, text)
            for low, high, width in intervals
            if not math.isnan(low)
        ]
        point = line_trace([place(change(verdict.delta))], [row], 0, text)
        ring = {"size": 9, "color": "white", "line": {"color": "black", "width": 2}}
        data.append({**point, "mode": "markers", "marker": ring})
    band = box(place(change(-verdict.margin)), place(margin))
    control = "" if several else f" against {escape(textwrap.shorten(first.control, 24))}"
    what = f"change of {metric}{control} [%]" if logs else f"difference of {metric} [{unit}]"
    drawn = [place(end) for end in (*ends, -margin, margin) if math.isfinite(end)]
    x = {**place.axis(what), "range": [min(drawn) - 0.2, max(drawn) + 0.2]}
    figure = named_figure(data, x, names, [band])
    note = (
        f"Thick: 95% interval; thin: for m = {m} comparisons, from which the "
        f"verdict is read; grey: too small to matter. Logarithmic beyond ±{place.threshold:g}."
    )
    return Picture(f"effect_{metric}", f"Effects on {metric}", note, figure)


def _unit(metric: str) -> str:
    return tables.KNOWN[metric].unit or "relative" if metric in tables.KNOWN else "no unit"


def learning(report: Report) -> Picture:
    """Training and validation loss of each configuration."""
    data: list[Trace] = []
    losses: list[float] = []
    for label, style in styles(report).items():
        curve = report.curves[report.curves["label"] == label]
        steps = curve["step"].tolist()
        low, high = (numbers(curve[f"val_loss_{part}"]) for part in ("low", "high"))
        band = {"x": steps + steps[::-1], "y": high + low[::-1], "fill": "toself"}
        data.append(
            {
                **line_trace([], [], 0, ""),
                **band,
                "fillcolor": f"{style.colour}33",
                "hoverinfo": "skip",
                "legendgroup": label,
            }
        )
        for loss, dash in (("train", "dot"), ("val", "solid")):
            values = numbers(curve[f"{loss}_loss_mean"])
            losses += [value for value in values if value]
            line = line_trace(steps, values, 1.8, f"{escape(label)}, {loss}")
            line["line"] |= {"color": style.colour, "dash": dash}
            data.append({**line, "legendgroup": label, "hoverinfo": "x+y+text"})
    x = {"title": {"text": "training step [batches]"}}
    figure = make_figure(data, x, log_axis("loss [standardised outputs]", losses), [])
    note = "Solid: validation, mean and range over the members; dotted: training, dropout on."
    return Picture("learning", "Learning curves", note, figure)


def stability(report: Report) -> Picture:
    """r68 of every member."""
    rows = {row.label: row for row in report.heads}
    data = []
    for y, (label, style) in enumerate(styles(report).items()):
        values = rows[label].r68
        data.append(
            {
                "x": numbers(values),
                "y": [y] * len(values),
                "mode": "markers",
                "marker": marker(Style(style.colour, f"{style.symbol}-open")),
                "hoverinfo": "x+text",
                "hovertext": escape(label),
                "legendgroup": label,
            }
        )
    x = log_axis("r68 of q/pT [relative]", [v for label in styles(report) for v in rows[label].r68])
    note = f"One marker for each seed, or fold, on {report.split}."
    return Picture(
        "stability",
        "Spread over the seeds",
        note,
        named_figure(data, x, list(styles(report)), []),
    )


def compared(report: Report) -> list[str]:
    """Metrics of which there are effects to draw."""
    return list(dict.fromkeys(effect.metric for effect, _ in _drawable(report)))


def _drawable(report: Report) -> list[tuple[Effect, Verdict]]:
    """The comparisons with a size; a spread of one seed, or of equal ones, has none."""
    found = [(effect, effect.verdict) for effect in report.effects]
    return [(effect, v) for effect, v in found if v is not None and math.isfinite(v.delta)]


COSTS: dict[str, tuple[str, Callable[[HeadSummary], float]]] = {
    "parameters": ("trained parameters [number]", lambda row: row.parameters),
    "flops": ("operations of a prediction [FLOP]", lambda row: row.flops),
    "seconds": ("training time [s]", lambda row: row.seconds),
}
"""What a configuration costs: label and unit of the axis, and value."""

COST_NOTES = {
    "parameters": "Weights, biases and norms.",
    "flops": "2 × weights of every linear layer, those of the projections once for each hit, for "
    "the mean number of hits of a track; without the backbone.",
    "seconds": "All seeds of a configuration together, without the preparation of the data.",
}


def cost(report: Report, what: str) -> Picture:
    """r68 against what it costs, with the Pareto front."""
    title, value = COSTS[what]
    shown, data, points = styles(report), [], []
    for row in report.heads:
        for found in report.get(row.label, "qoverpt_r68"):
            style = shown.get(row.label, Style("#999999", "circle"))
            points.append((value(row), found.estimate.mean))
            trace = point_trace(row.label, style, [points[-1][0]], [found])
            data.append(trace)
    front = pareto(points)
    line = line_trace([x for x, _ in front], [y for _, y in front], 1.5, "Pareto front")
    line["line"] |= {"shape": "hv", "color": "#777777"}
    x = log_axis(title, [point[0] for point in points])
    y = log_axis("r68 of q/pT [relative]", [point[1] for point in points])
    name = {"parameters": "parameters", "flops": "operations", "seconds": "training time"}[what]
    note = f"{COST_NOTES[what]} Line: the Pareto front."
    return Picture(
        f"cost_{what}", f"r68 against {name}", note, make_figure([line, *data], x, y, [])
    )


def pareto(points: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """Points that no other one beats in both numbers, ascending in the first."""
    front: list[tuple[float, float]] = []
    for point in sorted(points):
        if not front or point[1] < front[-1][1]:
            front.append(point)
    return front


def search(trials: Trials) -> Picture:
    """Every complete trial: by number, the pruned ones too, or by its second objective."""
    several = len(trials.objectives) > 1
    data, shown = [], []
    for state, colour, symbol in (("complete", COLOURS[0], "circle"), ("pruned", "#777777", "x")):
        found = {n: o for n, o in trials.outcomes.items() if o.state == state and o.values}
        if several and state == "pruned":
            continue  # it has no value of the second one
        shown += [outcome.values[0] for outcome in found.values()]
        x = [o.values[1] if several else n for n, o in found.items()]
        trace = line_trace(numbers(x), numbers(o.values[0] for o in found.values()), 0, "")
        trace["marker"] = {"color": colour, "symbol": symbol, "size": 7}
        texts = [f"trial {n}, {state}: {o.values[0]:.4g}" for n, o in found.items()]
        data.append({**trace, "mode": "markers", "hovertext": texts})
    best = [(n, trials.outcomes[n].values) for n in trials.best()]
    ends = sorted((values[1], values[0]) if several else (n, values[0]) for n, values in best)
    ring = line_trace([x for x, _ in ends], [y for _, y in ends], 0, "shown here")
    ring["marker"] = {"symbol": "circle-open", "size": 12, "color": COLOURS[1]}
    data.append({**ring, "mode": "markers"})
    first, *others = (f"{escape(name)} [{_objective(name)}]" for name in trials.objectives)
    across = {"title": {"text": others[0] if several else "trial [number]"}}
    figure = make_figure(data, across, log_axis(f"mean {first}", shown), [])
    note = (
        "Blue: complete; grey crosses: pruned, at their last evaluation; ringed: those in this "
        "report. Failed ones are left out."
    )
    return Picture("search", "The search, on validation", note, figure)


def _objective(name: str) -> str:
    return "number" if name.startswith("params_") else _unit(name.removeprefix("val_"))
