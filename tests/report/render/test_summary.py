"""What MLflow shows of a report."""

from dataclasses import replace

import numpy as np
import pytest

from headsweep.report.content import Report
from headsweep.report.render import verdict_tables
from headsweep.report.render.summary import summary
from headsweep.stats.metrics import MARGINS
from headsweep.stats.verdict import compare


def test_the_figures_and_verdicts_of_each_configuration(built: Report) -> None:
    [old] = built.effects
    verdict = compare(np.array([0.09, 0.1, 0.11]), np.array([0.2, 0.21, 0.22]), MARGINS[old.metric])
    found = summary(replace(built, effects=[replace(old, verdict=verdict)]))
    assert summary(built)["rows"][1]["verdict"] == "none"  # a seed failed
    assert summary(built)["answer"] == verdict_tables.answer(built)
    assert found["split"] == "dev"
    assert [row["label"] for row in found["rows"]] == [head.label for head in built.heads]
    control, arm = found["rows"][:2]
    assert control["verdict"] == "control"
    change = np.exp(np.log([0.09, 0.1, 0.11]).mean() - np.log([0.2, 0.21, 0.22]).mean()) - 1
    assert arm["verdict"] == f"better ({100 * change:+.1f}%)"
    for row, head in zip(found["rows"], built.heads, strict=True):
        assert row["jobs"]
        assert row["metrics"]["dev_qoverpt_r68_mean"] == pytest.approx(np.mean(head.r68))
        assert row["metrics"]["dev_qoverpt_r68_std"] == pytest.approx(np.std(head.r68, ddof=1))
    assert len({job for row in found["rows"] for job in row["jobs"]}) == len(built.heads)
