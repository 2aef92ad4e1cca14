"""Every name of a report is explained."""

from headsweep.report.content import Report
from headsweep.report.render import all_tables
from headsweep.report.render.names import meaning, names_table
from headsweep.report.render.tables import KNOWN


def test_every_metric_has_a_meaning() -> None:
    for name in KNOWN:
        assert meaning(name).endswith("."), name
        assert len(meaning(name).split()) > 2
    assert meaning("conservative") == ""


def test_every_name_of_a_report_stands_in_the_table(built: Report) -> None:
    named = {row[0] for row in names_table(built).rows}
    assert {value.metric for value in built.values} <= named
    heads = [c.split()[0] for t in all_tables.named_tables(built).values() for c in t.columns if c]
    assert {head for head in heads if "_" in head} <= named
    assert "L_test" not in named
