"""The figures of a report as tables of words."""

import math
import statistics
from collections import ChainMap
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from headsweep.report.comparisons import Effect
from headsweep.report.content import Report
from headsweep.report.values import REFERENCE, WHOLE
from headsweep.stats.bins import far_from_reference
from headsweep.stats.curves import CURVE_METRICS
from headsweep.stats.failures import rate_limit
from headsweep.stats.intervals import wilson
from headsweep.stats.metric import Metric, Place
from headsweep.stats.metrics import LAST_LOSSES, METRICS, shown

CURVES = ("steps_to_95", "loss_at_10pct", "grad_norm_cv", "loss_spikes")
MOST_MISID_WITH_CORE = 0.05
"""Highest charge misidentification at which a core is printed; above it, it means nothing."""

AXES = {"pt": "true pT in GeV", "abs_eta": "true |eta|", "stations": "number of stations"}
NOTHING = "–"

OTHERS = {
    "far_from_reference": Metric("far_from_reference", far_from_reference, "lower", "%", "plain"),
    **{name: Metric(name, float, "lower", "", "plain") for name in LAST_LOSSES.values()},
}
"""Figures beside those of tracks and curves: one needs a reference, the others are losses."""

KNOWN = ChainMap(METRICS, CURVE_METRICS, OTHERS)
"""Every metric of a report by name."""

ARROWS_NOTE = (
    "Arrows in column heads: a perfect result is as low (↓) or as high (↑) as can be, or at 0 or 1."
)
N_NOTE = (
    "n counts seeds, or folds times split seeds; of a reference: the share of tracks it can use. "
    "One that cannot use all of them stands only in tables and pictures of the tracks that every "
    "reference can use, beside the configurations on the same tracks."
)
WILSON_NOTE = "[ ]: 95% Wilson interval of one run on these tracks; seeds may differ by more."


FAILED_NOTE = (
    "Diverged or failed: of the seeds that were trained. Of new seeds, up to: the share that may "
    "do so, one-sided 95% limit of Clopper and Pearson. All other columns: seeds that finished."
)


@dataclass(frozen=True)
class Table:
    """A table of words: title, column heads, rows and a line below."""

    title: str
    columns: list[str]
    rows: list[list[str]]
    note: str = ""

    def frame(self) -> pd.DataFrame:
        """The same as a frame of words; the first column is its index."""
        return pd.DataFrame(self.rows, columns=self.columns).set_index(self.columns[0])


def main_table(report: Report) -> Table:
    """The main figures on all tracks."""
    return _main(report, f"Main figures{report.on}, all tracks", WHOLE[0])


def tails_table(report: Report) -> Table:
    """Tails and size."""
    names = [*shown("tails"), "far_from_reference"]
    table = _figures(report, f"Tails{report.on}, all tracks", names, WHOLE[0])
    parameters = {row.label: f"{row.parameters:,}" for row in report.heads if row.parameters}
    for row in table.rows:
        row.append(parameters.get(row[0], NOTHING))
    table.columns.append("parameters")
    return table


def training_table(report: Report) -> Table:
    """Generalisation, speed and steadiness of the trainings, and their time."""
    table = _figures(report, "Training", ("gap", LAST_LOSSES[report.split], *CURVES), "all")
    # The heads come first; a reference is not trained.
    pairs = zip(table.rows, report.heads, strict=False)
    rows = [[*row, f"{about.seconds:.0f}"] for row, about in pairs]
    return Table(table.title, [*table.columns, "seconds"], rows)


def beside_table(report: Report) -> Table:
    """Steps until the trainings reach the control's loss, and test of their loss spikes."""
    control = report.rows[0].label
    rows = [
        [
            found.label,
            _to_control(found.steps_to_control),
            NOTHING if math.isnan(found.spikes_p) else f"{found.spikes_p:.2g}",
        ]
        for found in report.trainings
    ]
    note = (
        f"steps_to_control: share of the steps after which validation loss is as low as that of "
        f"{control} at its end; the median over the members. p of spikes: of loss_spikes like "
        "those of the control, by permutation of the seeds. No verdict is read from either."
    )
    columns = ["", "steps_to_control [%] ↓", "p of spikes"]
    return Table(f"Trainings beside those of {control}", columns, rows, note)


def _to_control(shares: Sequence[float]) -> str:
    """Median in percent, and how many members never get there."""
    if not shares:
        return NOTHING
    never, middle = sum(map(math.isinf, shares)), statistics.median(shares)
    text = "never" if math.isinf(middle) else f"{100 * middle:.3g}"
    return f"{text} ({never} of {len(shares)} never)" if never else text


def stability_table(report: Report) -> Table:
    """Failures and spread of the members of a configuration, and steadiness of their trainings."""
    rows = []
    for about in report.heads:
        ended = about.finished + about.failed
        texts = [
            v.estimate.text()
            for name in ("grad_norm_cv", "loss_spikes")
            for v in report.get(about.label, name)
        ]
        spread = f"{statistics.stdev(about.r68):.2g}" if len(about.r68) > 1 else NOTHING
        ends = [f"{end(about.r68):.4g}" if about.r68 else NOTHING for end in (min, max)]
        limit = f"{rate_limit(about.failed, ended):.0%}" if ended else NOTHING
        failed = f"{about.failed} of {ended}"
        rows.append([about.label, failed, limit, spread, *ends, *(texts or [NOTHING] * 2)])
    columns = ["", "diverged or failed", "of new seeds, up to", "r68: standard deviation"]
    columns += ["lowest", "highest", head("grad_norm_cv"), head("loss_spikes")]
    return Table("Stability over the members", columns, rows, FAILED_NOTE)


def cost_table(report: Report) -> Table:
    """Parameters, operations and time of each configuration."""
    rows = [
        [row.label, f"{row.parameters:,}", f"{row.flops:,.0f}", f"{row.seconds:.0f}"]
        for row in report.heads
        if row.finished
    ]
    note = (
        "FLOPs of one prediction: 2 x (weights of the head's linear layers + weights of the "
        f"projections x mean number of hits of a track of {report.split}); biases, norms, pooling "
        "and the backbone are left out. Seconds: all members of a configuration."
    )
    return Table("Cost", ["", "parameters", "FLOPs", "seconds"], rows, note)


def common_table(report: Report) -> Table:
    """The main figures beside those of the references, on the same tracks."""
    return _main(report, f"On the same tracks: {report.common}{report.on}", WHOLE[1])


def collider_table(report: Report) -> Table:
    """Widths as papers quote them; the core only where few charges are wrong."""
    title = f"For comparison with collider papers{report.on}, all tracks"
    names = shown("collider")
    table = _figures(report, title, names, "all")
    core = 2 + names.index("qoverpt_core")
    for row in table.rows:
        if any(v.estimate.mean > MOST_MISID_WITH_CORE for v in report.get(row[0], "charge_misid")):
            row[core] = NOTHING
    note = f"qoverpt_core is left out where charge_misid is above {MOST_MISID_WITH_CORE:.0%}."
    return Table(table.title, table.columns, table.rows, note)


def uncertainty_table(report: Report) -> Table:
    """Widths of pulls and coverage of the configurations whose loss gives an uncertainty."""
    table = _figures(report, f"Uncertainties{report.on}, all tracks", shown("uncertainty"), "all")
    rows = [row for row in table.rows if {*row[2:]} != {NOTHING}]
    note = (
        "A pull is an error over the uncertainty that the head gives; pull_r68 is the 0.6827 "
        "quantile of its absolute value, coverage the share of tracks with a pull within ±1. "
        "Uncertainties that are right give 1 and 68.27%."
    )
    return Table(table.title, table.columns, rows, note)


def binned_table(report: Report, axis: str, metric: str) -> Table:
    """One metric in bins of ``pt`` or ``abs_eta``; under- and overflow included.

    All tracks come first, then the same tracks for configurations and references.
    """
    everyone = _bin_rows(report, axis, metric, "tracks", "")
    usable = [
        [f"usable by the {row.label} [%]", *(v.estimate.text(100) for v in shares)]
        for row in report.references
        if row.usable < 1 and (shares := report.get(row.label, "usable", axis))
    ]
    common = _bin_rows(report, REFERENCE + axis, metric, "the same tracks", ", same tracks")
    rows = everyone + usable + common if report.partial else everyone
    few = any("†" in cell for row in rows for cell in row)
    note = f"† fewer than {report.min_bin_tracks} tracks: read nothing from this bin" if few else ""
    if report.partial:
        note = "; ".join(filter(None, [f"The same tracks: {report.common}", note]))
    bins = report.get(next(row.label for row in report.heads if row.finished), metric, axis)
    title = f"{head(metric)} by {AXES[axis]}{report.on}"
    return Table(title, ["", *(v.bin for v in bins)], rows, note)


def _bin_rows(report: Report, axis: str, metric: str, counted: str, suffix: str) -> list[list[str]]:
    """Numbers of tracks in bins of an axis, and a metric of all that have it there."""
    found = {row.label: report.get(row.label, metric, axis) for row in report.rows}
    found = {label: values for label, values in found.items() if values}
    counts = [
        f"n = {v.tracks}{'†' if v.tracks < report.min_bin_tracks else ''}"
        for v in next(iter(found.values()))
    ]
    return [[counted, *counts]] + [
        [f"{label}{suffix}", *(v.estimate.text(factor_of(metric)) for v in values)]
        for label, values in found.items()
    ]


def fit_table(report: Report) -> Table:
    """The resolution fits."""
    title = "q/pT resolution: r68 = r0 / pT + r1 + r2 pT, added in quadrature"
    title += report.on
    rows = [[label, str(fit)] for label, fit in report.fits.items()]
    note = (
        f"On {report.common}. Errors: bootstrap by event, over all seeds together, times "
        "sqrt(chi2/ndf) where that is above 1; where it is above 2 no values are given. A "
        "coefficient at its bound 0 has an upper limit."
    )
    return Table(title, ["", "fit"], rows, note)


def problems(report: Report) -> list[str]:
    """A line for each member that is not in the figures."""
    return [
        f"{row.label}: n = {row.finished} of {row.planned}; {line}"
        for row in report.heads
        for line in row.problems
    ] + [f"job {name}: {reason}" for name, reason in report.absent.items() if reason]


def shortfalls(report: Report) -> list[str]:
    """A sentence for each thing that was asked for and is not in the figures."""
    failed = [name for name, reason in report.absent.items() if reason]
    lines = [row.shortfall for row in report.heads if row.shortfall]
    if failed:
        lines.append(f"No figures of failed jobs: {', '.join(failed)}")
    if missing := len(report.absent) - len(failed):
        lines.append(f"{missing} job{'s' * (missing > 1)} not trained yet")
    lines += [f"{own} is equal to {other} and counts once" for own, other in report.same.items()]
    return [f"{line}." for line in lines]


def with_shortfall(effect: Effect) -> str:
    """What follows a verdict: the seeds that it lacks, and that they could not turn it."""
    if not effect.shortfall:
        return ""
    decided = effect.verdict is not None and effect.verdict.word != "undecided"
    stands = "holds in every case: " if decided and "failed" in effect.shortfall else ""
    return f" ({stands}{effect.shortfall})"


def count(finished: int, planned: int) -> str:
    """A number of members: ``5``, or ``3 of 5``."""
    return f"{finished}" if finished == planned else f"{finished} of {planned}"


def binned_tables(report: Report) -> list[tuple[str, str]]:
    """Axis and metric of each table in bins; numbers of stations are not known of all data."""
    places: tuple[Place, ...] = ("pt", "abs_eta", "stations")
    found = [(axis, name) for axis in places for name in shown(axis)]
    first = next(row.label for row in report.heads if row.finished)
    return [(axis, name) for axis, name in found if report.get(first, name, axis)]


def _main(report: Report, title: str, axis: str) -> Table:
    """The main figures; a single run's charge misidentification with its own interval."""
    names, note = shown("main"), ""
    table = _figures(report, title, names, axis)
    column = 2 + names.index("charge_misid")
    for row in table.rows:
        for value in report.get(row[0], "charge_misid", axis):
            if value.estimate.n == 1 and value.tracks:
                wrong = round(value.estimate.mean * value.tracks)
                low, high = wilson(wrong, value.tracks)
                row[column] += f" [{100 * low:.3g}, {100 * high:.3g}]"
                note = WILSON_NOTE
    return Table(table.title, table.columns, table.rows, note)


def _figures(report: Report, title: str, names: Sequence[str], axis: str) -> Table:
    """One row a label, one column a metric; without references that cannot use these tracks."""
    rows = []
    for about in report.rows:
        if axis == WHOLE[0] and about.kind == "reference" and about.usable < 1:
            continue
        if about.kind == "head":
            label = about.label
            n = count(about.finished, about.planned)
        else:
            label, n = about.label, f"{about.usable:.1%}"
        found = [report.get(about.label, name, axis) for name in names]
        texts = [
            values[0].estimate.text(factor_of(name)) if values else NOTHING
            for name, values in zip(names, found, strict=True)
        ]
        rows.append([label, n, *texts])
    return Table(title, ["", "n", *map(head, names)], rows)


def head(metric: str) -> str:
    """Head of a metric's column: name, unit and direction."""
    short = {name: f"L_{split}" for split, name in LAST_LOSSES.items()}
    return KNOWN[metric].head(short.get(metric, metric))


def words_of(metric: str) -> str:
    """What a metric is called in a sentence."""
    return (KNOWN[metric].words if metric in KNOWN else "") or metric


def factor_of(metric: str) -> float:
    """Factor from a value to what is printed: 100 for percent."""
    return KNOWN[metric].factor if metric in KNOWN else 1.0
