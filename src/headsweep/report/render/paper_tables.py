"""Tables for papers and spreadsheets: LaTeX of words, CSV of numbers."""

import re

import pandas as pd

from headsweep.report.content import Report
from headsweep.report.render import all_tables
from headsweep.report.render.tables import Table

MACROS = str.maketrans(
    {
        "↓": r"$\downarrow$",
        "↑": r"$\uparrow$",
        "→": r"$\to$",
        "±": r"$\pm$",
        "≥": r"$\geq$",
        "†": r"$\dagger$",
        "–": "--",
        "|": r"$|$",
        "<": r"$<$",
        ">": r"$>$",
    }
)
"""What LaTeX has no letter for in every font."""


def paper_tables(report: Report) -> dict[str, str]:
    """Names and texts of the files: each table as LaTeX, all figures and verdicts as CSV."""
    found = {
        f"{re.sub('[^a-z0-9_]+', '_', name.lower())}.tex": latex(table)
        for name, table in all_tables.named_tables(report).items()
    }
    found["figures.csv"] = report.frame().to_csv(index=False)
    if report.effects:
        verdicts = pd.DataFrame([effect.row() for effect in report.effects])
        found["verdicts.csv"] = verdicts.to_csv(index=False)
    return found


def latex(table: Table) -> str:
    """A table as LaTeX, for the package booktabs; title and note become its caption."""
    columns = "l" + "r" * (len(table.columns) - 1)
    text = (
        table.frame()
        .reset_index()
        .to_latex(index=False, escape=True, column_format=columns, caption=_escaped(table))
    )
    return str(text).translate(MACROS)


def _escaped(table: Table) -> str:
    """The caption, whose special letters pandas leaves as they are."""
    caption = f"{table.title}. {table.note}".strip()
    return re.sub(r"([&%$#_{}])", r"\\\1", caption)
