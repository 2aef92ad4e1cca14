"""Every loss from its training to report and predictions: physics is compared, never losses."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from headsweep.events.hepattn_files import write_hepattn
from headsweep.events.simulation import simulate_chunks
from headsweep.report import scoring
from headsweep.report.build import build_report
from headsweep.report.content import Report
from headsweep.report.render import all_tables, run_pictures
from headsweep.report.render.summary import summary
from headsweep.stats.metrics import shown
from headsweep.store import runs
from headsweep.sweep.inputs import find_inputs
from headsweep.sweep.job import run_job
from headsweep.sweep.plan import make_plan

pytestmark = pytest.mark.slow

KINDS = ["smooth_l1", "huber", "gaussian", "quantile"]
SPREAD = ["gaussian", "quantile"]
EVENTS = 120


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a sweep over the losses, with a classified charge and sine and cosine of phi."""
    root = tmp_path_factory.mktemp("root")
    overrides = [
        *("data=tiny", f"data.source.events={EVENTS}", "optim.steps=30", "optim.batch_size=32"),
        *(f"loss={','.join(KINDS)}", "loss.charge=bce", "target=log_pt", "target.phi=sincos"),
        *(f"root={root}", "seeds=2", "tracking=false", "name=losses"),
    ]
    plan = make_plan(overrides, multirun=True)
    folder = root / "sweeps" / "losses"
    for number, job in enumerate(plan.jobs):
        run_job(job, find_inputs(job), folder / "jobs" / str(number))
    return folder


@pytest.fixture(scope="module")
def report(sweep: Path) -> Report:
    return build_report(sweep, sweep.parents[1])


def test_only_losses_with_an_uncertainty_have_columns_and_metrics_of_it(sweep: Path) -> None:
    for number, kind in enumerate(KINDS):
        folder = sweep / "jobs" / str(number)
        saved = pd.read_parquet(folder / "seed_0" / "predictions_val.parquet")
        own = {"eta_sigma", "phi_sigma", "kappa_sigma"} & {*saved.columns}
        assert len(own) == (3 if kind in SPREAD else 0)
        assert (saved[[*own]] > 0).all().all()
        metrics = runs.read_results(folder)[0]["metrics"]
        found = {name: metrics.get(f"val_{name}", math.nan) for name in shown("uncertainty")}
        assert all(math.isfinite(value) == (kind in SPREAD) for value in found.values()), found


def test_the_report_judges_uncertainties_where_there_are_some(report: Report) -> None:
    assert [row.label for row in report.heads] == KINDS
    table = all_tables.figure_tables(report)["uncertainty"]
    assert [row[0] for row in table.rows] == SPREAD
    assert not {"–", "nan"} & {cell for row in table.rows for cell in row}
    for row in summary(report)["rows"]:
        assert ("dev_eta_coverage_mean" in row["metrics"]) == (row["label"] in SPREAD)
    alone = replace(report, heads=report.heads[:2])
    assert "uncertainty" not in all_tables.figure_tables(alone)


def test_losses_are_not_compared_and_each_is_drawn_on_its_own_axis(report: Report) -> None:
    panels = run_pictures.learning_curves(report).panels
    assert [panel.y.label for panel in panels] == [
        "loss: smooth_l1, charge=bce of log_pt, phi=sincos",
        "loss: smooth_l1, beta=0.1, charge=bce of log_pt, phi=sincos",
        "loss: gaussian, charge=bce of log_pt, phi=sincos",
        "loss: quantile, charge=bce of log_pt, phi=sincos",
    ]
    assert [panel.y.scale for panel in panels] == ["log", "log", "linear", "log"]
    assert all(found.steps_to_control == () for found in report.trainings)
    (gap,) = report.get("gaussian", "gap")
    assert math.isnan(gap.estimate.mean)
    assert any("Targets or losses differ" in note for note in report.notes)


def test_predictions_for_other_events_have_the_uncertainties_of_the_training(
    sweep: Path, tmp_path: Path
) -> None:
    write_hepattn(tmp_path, simulate_chunks(40, 9))
    for number, kind in enumerate(KINDS):
        found = scoring.apply(sweep / "jobs" / str(number), tmp_path).tracks[0]
        assert len(found) > 0
        assert (found.kappa_sigma is not None) == (kind in SPREAD)
        assert np.isfinite(np.stack([*found.columns().values()])).all()
