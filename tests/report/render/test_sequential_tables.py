"""The looks at verdicts in words."""

from dataclasses import replace

import numpy as np
import pytest

from headsweep.report.comparisons import Effect
from headsweep.report.content import Report
from headsweep.report.render import all_tables, markdown, page, verdict_tables
from headsweep.stats.margins import Comparison
from headsweep.stats.sequential import Looks
from headsweep.stats.verdict import compare

WHEN = ("2026-11-01T10:00:00+00:00", "2026-11-02T11:30:00+00:00")


def looked(built: Report, looks: Looks) -> Report:
    """The report with an arm of so many looks."""
    rng = np.random.default_rng(0)
    arm, control = np.exp(0.2 * rng.standard_normal((2, int(looks.sizes[-1]))))
    verdict = compare(arm, control, Comparison(0.05, looks=looks))
    return replace(built, effects=[Effect("simpler", "conservative", "qoverpt_r68", 0, verdict)])


def test_nothing_is_said_of_one_look(built: Report) -> None:
    report = looked(built, Looks((5,), 5, WHEN[:1]))
    assert "looks" not in all_tables.named_tables(report)
    assert "look" not in verdict_tables.verdict_table(report).columns
    assert "ook" not in verdict_tables.answer(report)


def test_an_extended_sweep_shows_its_looks(built: Report) -> None:
    report = looked(built, Looks((5, 10), 5, WHEN))
    sentence = "Look 2 at growing numbers of seeds, read by sequential bounds."
    assert sentence in verdict_tables.answer(report)
    table = all_tables.named_tables(report)["looks"]
    assert table.rows == [
        ["all comparisons", "1", "2026-11-01 10:00:00", "5", "5.00%", "5.0%"],
        ["", "2", "2026-11-02 11:30:00", "10", "0.74%", "5.3%"],
    ]
    assert "Planned were 5 seeds, and more were trained after a look" in table.note
    assert "12 looks up to 60 seeds" in table.note
    verdicts = verdict_tables.verdict_table(report)
    assert verdicts.rows[0][verdicts.columns.index("look")] == "2, at 0.74%"
    assert "allow for its level" in verdicts.note
    for text in (markdown.markdown(report, {}), page.page(report)):
        assert "Looks at these verdicts" in text
        assert "read by sequential bounds" in text


def test_looks_within_the_plan_share_the_error(built: Report) -> None:
    table = all_tables.named_tables(looked(built, Looks((3, 5), 5, WHEN)))["looks"]
    assert [row[-1] for row in table.rows] == ["3.5%", "5.0%"]
    assert "Planned were 5 seeds, and all looks until then share 5%" in table.note


@pytest.mark.parametrize("looks", [Looks((5,), 10, WHEN[:1]), Looks((5, 80, 90), 5, (*WHEN, ""))])
def test_first_looks_and_last_ones(built: Report, looks: Looks) -> None:
    table = all_tables.named_tables(looked(built, looks))["looks"]
    assert len(table.rows) == len(looks.sizes)
