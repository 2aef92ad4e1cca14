"""A look at one more metric."""

from dataclasses import replace

import numpy as np
import pytest

from headsweep.errors import UserError
from headsweep.report.content import Report
from headsweep.report.render.look_table import check_metric, look_table


def test_the_change_is_that_of_the_means(built: Report) -> None:
    for metric in ("phi_abs68", "charge_misid"):
        table = look_table(built, metric)
        control, arm = (built.get(head.label, metric)[0].estimate.mean for head in built.heads[:2])
        partial = [row.label for row in built.references if row.usable < 1]
        assert [row[0] for row in table.rows] == [
            row.label for row in built.rows if row.label not in partial
        ]
        assert table.rows[0][2] == "–"
        change = float(table.rows[1][2].rstrip("%"))
        points = metric == "charge_misid"
        expected = 100 * (arm - control) if points else 100 * (arm / control - 1)
        np.testing.assert_allclose(change, expected, atol=0.06, rtol=0.01)
        assert "no verdict" in table.note


def test_a_loss_is_looked_at_on_its_own_split(built: Report) -> None:
    assert look_table(built, "last_dev_loss").columns[1] == "L_dev ↓"
    with pytest.raises(UserError, match="last_test_loss: this report reads dev; its loss is last_"):
        look_table(built, "last_test_loss")
    on_test = replace(built, split="test")
    with pytest.raises(UserError, match="this report reads test; its loss is last_test_loss"):
        look_table(on_test, "last_dev_loss")


def test_an_unknown_metric_is_answered_with_all_names() -> None:
    check_metric("phi_abs68")
    with pytest.raises(UserError, match=r"--metric r68: .*charge_misid.*qoverpt_r68"):
        check_metric("r68")
