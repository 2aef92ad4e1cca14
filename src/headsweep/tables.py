"""A comparison as tables of words, and as Markdown."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from headsweep.comparison import NO_VERDICT, Report
from headsweep.metrics import METRICS

MAIN = ("qoverpt_r68", "eta_abs68", "phi_abs68", "charge_misid", "pt_rmse", "clip_fraction")
TAILS = ("outlier_fraction", "far_from_reference", "gap", "last_dev_loss")
COLLIDER = (
    "qoverpt_core",
    "qoverpt_iterative_rms",
    "qoverpt_iterative_cut",
    "qoverpt_iqr",
    "qoverpt_std",
    "pt_core",
    "sagitta_bias_plus",
    "sagitta_bias_minus",
)
BINNED = (
    ("pt", "qoverpt_r68"),
    ("pt", "scale_bias"),
    ("pt", "charge_misid"),
    ("abs_eta", "qoverpt_r68"),
    ("abs_eta", "eta_abs68"),
    ("abs_eta", "charge_misid"),
)

PERCENT = (
    "charge_misid",
    "clip_fraction",
    "far_from_reference",
    "outlier_fraction",
    "qoverpt_iterative_cut",
)
"""Shares, printed in percent."""

MAX_MISID = 0.05
"""A core means nothing, and is not printed, above this charge misidentification."""

AXES = {"pt": "true pT in GeV", "abs_eta": "true |eta|"}
NAMES = {"last_dev_loss": "L_dev"}
NOTHING = "–"


@dataclass(frozen=True)
class Table:
    """A table of words: title, column heads, rows and a line below."""

    title: str
    columns: list[str]
    rows: list[list[str]]
    note: str = ""


def main_table(report: Report) -> Table:
    """The main figures of every configuration and reference."""
    return _figures(report, "Main figures", MAIN, "all")


def tails_table(report: Report) -> Table:
    """Tails, generalisation, size and time."""
    table = _figures(report, "Tails and training", TAILS, "all")
    for row, about in zip(table.rows, report.rows, strict=True):
        head = about.kind == "head"
        row += [f"{about.parameters:,}", f"{about.seconds:.0f}"] if head else [NOTHING] * 2
    table.columns.extend(["parameters", "seconds"])
    return table


def common_table(report: Report) -> Table:
    """The main figures on exactly the tracks of the classical reference."""
    title = "On exactly the tracks that the classical reference can use"
    return _figures(report, title, MAIN, "reference_tracks")


def collider_table(report: Report) -> Table:
    """Widths as papers quote them; the core only where few charges are wrong."""
    table = _figures(report, "For comparison with collider papers", COLLIDER, "all")
    core = 2 + COLLIDER.index("qoverpt_core")
    for row, about in zip(table.rows, report.rows, strict=True):
        if any(v.estimate.mean > MAX_MISID for v in report.get(about.label, "charge_misid")):
            row[core] = NOTHING
    note = f"qoverpt_core is left out where charge_misid is above {MAX_MISID:.0%}."
    return Table(table.title, table.columns, table.rows, note)


def binned_table(report: Report, axis: str, metric: str) -> Table:
    """One metric in bins of ``pt`` or ``abs_eta``; under- and overflow included."""
    found = {row.label: report.get(row.label, metric, axis) for row in report.rows}
    found = {label: values for label, values in found.items() if values}
    bins = next(iter(found.values()))
    few = [v.tracks < report.min_bin_tracks for v in bins]
    counts = [f"n = {v.tracks}{'†' if f else ''}" for v, f in zip(bins, few, strict=True)]
    rows = [["tracks", *counts]]
    rows += [
        [label, *(v.estimate.text(_factor(metric)) for v in values)]
        for label, values in found.items()
    ]
    note = f"† fewer than {report.min_bin_tracks} tracks: never a verdict" if any(few) else ""
    return Table(f"{_head(metric)} by {AXES[axis]}", ["", *(v.bin for v in bins)], rows, note)


def fit_table(report: Report) -> Table:
    """The resolution fits."""
    title = "q/pT resolution: r68 = r0 / pT + r1 + r2 pT, added in quadrature"
    rows = [[label, str(fit)] for label, fit in report.fits.items()]
    return Table(title, ["", "fit"], rows, "Errors: bootstrap by event, over all seeds together.")


def all_tables(report: Report) -> list[Table]:
    """Every table, in the order of the written report."""
    return [
        main_table(report),
        tails_table(report),
        common_table(report),
        *(binned_table(report, axis, metric) for axis, metric in BINNED),
        collider_table(report),
        fit_table(report),
    ]


def problems(report: Report) -> list[str]:
    """A line for each member that is not in the figures."""
    return [
        f"{row.label}: n = {row.finished} of {row.planned}; {line}"
        for row in report.rows
        for line in row.problems
    ]


def markdown(report: Report, pictures: Mapping[str, str]) -> str:
    """The whole report.

    Args:
        report: What to show.
        pictures: File name and caption of each picture beside the text.
    """
    parts = [f"# {report.name}", f"**{NO_VERDICT}**"]
    if lines := problems(report):
        parts += ["## Members without figures", _list(lines)]
    parts += [_markdown_table(table) for table in all_tables(report)]
    parts += ["## Pictures", *(f"![{text}]({name})\n\n{text}" for name, text in pictures.items())]
    parts += ["## How to read this", _list(report.notes)]
    parts += ["## What is not modelled", _list(report.not_modelled or ["Nothing is stated."])]
    return "\n\n".join(parts) + "\n"


def _figures(report: Report, title: str, names: Sequence[str], axis: str) -> Table:
    """One row a label, one column a metric."""
    rows = []
    for about in report.rows:
        if about.kind == "head":
            label = about.label
            complete = about.finished == about.planned
            n = f"{about.finished}" if complete else f"{about.finished} of {about.planned}"
        else:
            label, n = about.label, NOTHING
            if about.usable < 1:
                label += f" ({about.usable:.1%} usable)"
        found = [report.get(about.label, name, axis) for name in names]
        texts = [
            values[0].estimate.text(_factor(name)) if values else NOTHING
            for name, values in zip(names, found, strict=True)
        ]
        rows.append([label, n, *texts])
    return Table(title, ["", "n", *(_head(name) for name in names)], rows)


def _head(metric: str) -> str:
    unit = "%" if metric in PERCENT else METRICS[metric].unit if metric in METRICS else ""
    return NAMES.get(metric, metric) + (f" [{unit}]" if unit else "")


def _factor(metric: str) -> float:
    return 100.0 if metric in PERCENT else 1.0


def _list(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _markdown_table(table: Table) -> str:
    lines = [table.columns, ["---", *["---:"] * (len(table.columns) - 1)], *table.rows]
    body = "\n".join(
        "| " + " | ".join(cell.replace("|", r"\|") for cell in row) + " |" for row in lines
    )
    return f"## {table.title}\n\n{body}" + (f"\n\n{table.note}" if table.note else "")
