"""Tables for papers: every cell is there, in letters that LaTeX has, and numbers come back."""

import csv
from io import StringIO

import pandas as pd
import pytest

from headsweep.report.content import Report
from headsweep.report.render.all_tables import named_tables
from headsweep.report.render.paper_tables import latex, paper_tables
from headsweep.report.render.tables import Table


def test_each_table_of_the_report_is_latex(built: Report) -> None:
    texts = {name: text for name, text in paper_tables(built).items() if name.endswith(".tex")}
    tables = named_tables(built)
    assert len(texts) == len(tables)
    for text, table in zip(texts.values(), tables.values(), strict=True):
        assert text.isascii(), table.title
        rows = [line for line in text.splitlines() if line.endswith(r" \\")]
        assert len(rows) == 1 + len(table.rows)
        assert {line.count(" & ") for line in rows} == {len(table.columns) - 1}
    assert r"charge\_misid [\%] $\downarrow$" in texts["main.tex"]
    assert "qoverpt_r68_by_pt.tex" in texts


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        ("50% & more_#1", r"50\% \& more\_\#1"),
        ("0.1 ± 0.02", r"0.1 $\pm$ 0.02"),
        ("|x|", "$|$x$|$"),
    ],
)
def test_special_letters_are_kept(cell: str, text: str) -> None:
    found = latex(Table("A 5% title", ["", "b"], [["a", cell]], "Of a_b."))
    assert rf"a & {text} \\" in found
    assert r"\caption{A 5\% title. Of a\_b.}" in found


def test_numbers_come_back(built: Report) -> None:
    found = paper_tables(built)
    pd.testing.assert_frame_equal(
        pd.read_csv(StringIO(found["figures.csv"])), built.frame(), check_dtype=False
    )
    rows = list(csv.DictReader(StringIO(found["verdicts.csv"])))
    assert [row["arm"] for row in rows] == [effect.arm for effect in built.effects]
    assert [row["note"] for row in rows] == [effect.row()["note"] for effect in built.effects]
