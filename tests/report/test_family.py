"""The size of the family of comparisons, by design and as the shipped sweeps have it."""

import pytest

from headsweep.config import DesignConfig
from headsweep.report.claims import CLAIMS
from headsweep.report.family import family_size, pairs, planned_configurations
from headsweep.sweep.equal_jobs import merge_equal
from headsweep.sweep.inputs import find_inputs
from headsweep.sweep.plan import make_plan

pytestmark = pytest.mark.slow

SHIPPED = {
    "presets": 3,
    "leave_one_out": 12,
    "add_one_in": 3,
    "path": 5,
    "targets": 7,
    "size": 4,
    "dropout": 4,
    "features": 1,
    "thresholds": 2,
    "before_after": 1,
    "smoke": 1,
    "claims": 6,
}
"""m of each sweep, as it stood in its file before it was derived."""


@pytest.mark.parametrize(("sweep", "size"), SHIPPED.items())
def test_the_shipped_sweeps_need_no_number(sweep: str, size: int) -> None:
    plan = make_plan([f"sweeps={sweep}"], multirun=True)
    spec = merge_equal(plan, [find_inputs(job) for job in plan.jobs])[0].spec
    design = DesignConfig(**{**spec["design"], "comparisons": None})
    contrasts = len(CLAIMS) if design.kind == "claims" else None
    assert family_size(design, planned_configurations(spec), contrasts) == size


@pytest.mark.parametrize(
    ("design", "configurations", "contrasts", "size"),
    [
        ({}, 4, None, 3),
        ({"kind": "path"}, 6, None, 5),
        ({"metrics": ["qoverpt_r68", "eta_abs68"]}, 4, None, 6),
        ({"kind": "factorial"}, 4, 2, 2),
        ({"kind": "factorial", "metrics": ["qoverpt_r68", "eta_abs68"]}, 8, 3, 6),
        ({"kind": "claims", "metrics": ["qoverpt_r68", "eta_abs68"]}, 5, 6, 6),
        ({"comparisons": 7}, 4, None, 7),
        ({"comparisons": 2}, 4, None, 3),
        ({}, 7, None, 6),  # sweeps=confirm: four presets and three trials
    ],
)
def test_contrasts_times_metrics_and_never_fewer(
    design: dict[str, object], configurations: int, contrasts: int | None, size: int
) -> None:
    found = family_size(DesignConfig(**design), configurations, contrasts)  # type: ignore[arg-type]
    assert found == size


def test_folds_are_one_configuration() -> None:
    jobs = {
        f"{number} x": {"head.dropout": dropout, "data.split.fold": fold, "data.split.seed": seed}
        for number, (dropout, fold, seed) in enumerate(
            (d, f, s) for d in (0.0, 0.1, 0.2) for f in range(2) for s in range(2)
        )
    }
    assert planned_configurations({"jobs": jobs, "config": {"data.split.folds": 2}}) == 3
    # Without folds another split seed is another configuration.
    assert planned_configurations({"jobs": jobs, "config": {"data.split.folds": None}}) == 12
    assert planned_configurations({}) == 0


def test_pairs() -> None:
    assert pairs(["a", "b", "c"], "control") == [("b", "a"), ("c", "a")]
    assert pairs(["a", "b", "c"], "path") == [("b", "a"), ("c", "b")]
    assert pairs(["a"], "path") == pairs(["a"], "control") == []
