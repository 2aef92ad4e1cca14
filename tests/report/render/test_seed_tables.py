"""Tables of what seeds have in common."""

from dataclasses import replace

from headsweep.report.confirmation import Change
from headsweep.report.content import Report
from headsweep.report.render import all_tables, seed_tables
from headsweep.report.seed_average import Agreement, AverageFigure, SeedAverage
from headsweep.stats.intervals import Estimate


def test_an_average_stands_below_its_single_seeds(built: Report) -> None:
    figures = (
        AverageFigure(
            "qoverpt_r68", 0.25, Estimate(0.2, 0.01, 5), Change(-0.22314, -0.3, 0, "log")
        ),
        AverageFigure("eta_abs68", 0.05, Estimate(0.05, 0.01, 5), Change(0, -0.1, 0.1, "log")),
        AverageFigure(
            "charge_misid", 0.02, Estimate(0.01, 0.001, 5), Change(-0.01, -0.02, 0.005, "plain")
        ),
    )
    report = replace(built, averages=[SeedAverage("a", 5, figures)])
    table = seed_tables.average_table(report)
    assert table.columns[1:] == ["seeds", "r68 of q/pT", "eta error (68%)", "wrong charge [%]"]
    assert table.rows[0] == ["a, one seed", "mean of 5", "0.25", "0.05", "2"]
    assert table.rows[1][2] == "0.200 ± 0.010, -20.0% [-25.9%, +0.0%]"
    assert table.rows[1][4] == "1.00 ± 0.10, -1 [-2, +0.5]"
    assert "no verdict" in table.note


def test_agreement_in_percent(built: Report) -> None:
    table = seed_tables.agreement_table(
        replace(built, agreement=[Agreement("a", 5, 0.004, 0.017, 0.05, 0.125)])
    )
    assert table.rows == [["a", "5", "0.4", "1.7", "5", "12.5"]]


def test_reports_have_both(built: Report) -> None:
    found = all_tables.named_tables(built)
    assert [row[0] for row in found["agreement"].rows] == ["conservative", "simpler", "all heads"]
    assert len(found["average"].rows) == 4
    without = all_tables.named_tables(replace(built, agreement=[], averages=[]))
    assert not {"agreement", "average"} & without.keys()
