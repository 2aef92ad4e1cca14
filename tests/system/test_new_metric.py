"""A new metric is one function: then it is in tables, on the page, in MLflow, in ``--metric``."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headsweep.identity import member_key
from headsweep.report.build import build_report
from headsweep.report.content import Report
from headsweep.report.render import all_tables, page, pictures, tables
from headsweep.report.render.look_table import check_metric, look_table
from headsweep.report.render.summary import summary
from headsweep.report.values import WHOLE
from headsweep.stats.margins import Comparison
from headsweep.stats.metrics import MARGINS, METRICS, metric_of
from headsweep.stats.tracks import Array, Tracks
from headsweep.store import runs
from headsweep.store.tracking.records import read_records
from helpers.run_folders import make_job
from helpers.toy_presets import write_presets
from helpers.toy_runs import toy_score

NAME = "eta_quarter"


def eta_error(tracks: Tracks) -> Array:
    return tracks.eta - tracks.eta_true


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Report]:
    """Report of the toy sweep ``presets``, with a metric that only this test has."""

    @metric_of(
        eta_error,
        "lower",
        unit="%",
        margin=math.log(1.1),
        tables=("main", "abs_eta"),
        binned=True,
    )
    def eta_quarter(error: Array) -> Any:
        """A quarter of the tracks have a lower eta error."""
        return np.quantile(np.abs(error), 0.25, axis=-1) if error.shape[-1] else math.nan

    root = tmp_path_factory.mktemp("metric")
    write_presets(root)
    yield build_report(root / "sweeps" / "presets", root, toy_score)
    del METRICS[NAME], MARGINS[NAME]


@pytest.mark.slow
def test_it_is_in_the_tables_with_its_value(report: Report, tmp_path: Path) -> None:
    table = tables.main_table(report)
    column = table.columns.index(f"{NAME} [%] ↓")
    label = report.heads[0].label
    [value] = report.get(label, NAME)
    # The toy smears eta by a tenth of a width whose deviation is r68: a normal quantile.
    assert value.estimate.mean == pytest.approx(0.31864 * 0.1 * np.mean(report.heads[0].r68), 0.01)
    assert table.rows[0][column] == value.estimate.text(100)
    assert tables.common_table(report).columns[column] == table.columns[column]
    assert report.get(label, NAME, WHOLE[1])
    [binned] = [t for n, t in all_tables.figure_tables(report).items() if n.startswith(NAME)]
    assert binned.title.startswith(f"{NAME} [%] ↓ by true |eta|")


def test_it_has_a_picture_on_the_page(report: Report) -> None:
    assert f"{NAME}_abs_eta" in pictures.all_pictures(report)
    text = page.page(report)
    assert f'id="{NAME}_abs_eta"' in text
    assert "A quarter of the tracks have a lower eta error." in text


def test_it_is_among_the_metrics_of_a_job_in_mlflow(report: Report, tmp_path: Path) -> None:
    job = make_job(tmp_path / "s/jobs/0", finished=[0], seeds=1)
    (job / "seed_0/history.csv").unlink()
    result = {"status": "finished", "metrics": {f"val_{NAME}": 0.25}}
    runs.write_member(job / "seed_0", {"member_key": member_key("job-0", 0), **result})
    records = read_records(job)
    assert records is not None
    assert (f"val_{NAME}_mean", 0.25, 0) in records.job.metrics
    [own] = report.get(report.heads[0].label, NAME)
    assert summary(report)["rows"][0]["metrics"][f"dev_{NAME}_mean"] == own.estimate.mean


def test_it_can_be_looked_at_and_compared(report: Report) -> None:
    check_metric(NAME)
    assert look_table(report, NAME).rows[0][1] == report.get(report.heads[0].label, NAME)[
        0
    ].estimate.text(100)
    assert MARGINS[NAME] == Comparison(math.log(1.1))
