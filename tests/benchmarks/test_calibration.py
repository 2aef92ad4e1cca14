"""The calibration benchmark, reduced: its goals with slack, and what its tables count."""

import importlib.util
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
RUNS = ROOT.parent / "shared/data/seed_runs_tabm.csv"

HERE = ROOT / "benchmarks/calibration"
sys.path.insert(0, str(HERE))

import population  # noqa: E402
import tables  # noqa: E402

# Another benchmark has a run.py too, so this one is loaded by its path.
spec = importlib.util.spec_from_file_location("calibration", HERE / "run.py")
run = importlib.util.module_from_spec(spec)
spec.loader.exec_module(run)

TOY = population.Population(np.log(np.arange(1.0, 91).reshape(6, 15)), np.array([0, 0, 0, 0, 0, 1]))


@pytest.fixture(scope="module")
def result() -> dict[Any, Any]:
    """Figures of a small run of the benchmark, by table, way and number of seeds."""
    if not RUNS.exists():
        pytest.skip("no seed_runs_tabm.csv")
    return run.calibrate(population.read_population(RUNS), draws=60, few=5)


@pytest.mark.parametrize("n", run.SEEDS)
def test_goals_on_real_seeds(result: dict[Any, Any], n: int) -> None:
    # 317 cells x 60 families and 25 x 60 families: 5% has errors of 0.2% and 0.6%. What is
    # counted lies near 1% and 0.3%, so that the goals themselves need no slack here.
    assert result["null", "ours", n].value <= 0.05
    assert result["real", "ours", n].value <= 0.05
    # The pairs share draws; between seeds of the generator the mean moves by about 0.2%, so that
    # the 93% of the goal gets 0.5% of slack below the 94.1% of the full run.
    assert 0.925 <= result["coverage", "ours", n].value <= 0.975
    assert result["replication", "ours", n].value >= 0.93
    assert result["lost", "ours, lost worst", n].value <= 0.05
    assert result["lost", "what is left, lost worst", 8].value > 0.02


def test_naive_ways_are_seen_to_fail(result: dict[Any, Any]) -> None:
    for n in run.SEEDS:
        assert result["null", "higher mean wins", n].value > 0.99
        assert result["null", "Welch, not adjusted", n].value > 0.08
        assert result["null", tables.PERCENTILE, n].value > 0.2
        assert result["real", "higher mean wins", n].value > 0.08
        assert result["coverage", "percentile bootstrap", n].value < 0.93
    assert result["replication", "not widened", 8].value < 0.87
    power = [result["power", "ours", n].value for n in run.SEEDS]
    assert power[0] > 0.5
    assert power[1] > 0.85
    assert power[2] > 0.95


def test_errors_are_counted_by_hand() -> None:
    words = np.array([["better", "worse", "equivalent", "undecided"]] * 3)
    truth = np.array([[-0.1, -0.1, -0.1, -0.1], [0.1, 0.1, 0.01, 0.1], [-0.01, 0.01, 0.01, 0.0]])
    assert tables.wrong_real(words, truth).tolist() == [
        [False, True, True, False],
        [True, False, False, False],
        [False, False, False, False],
    ]
    assert tables.right(words, truth).tolist() == [
        [True, False, False, False],
        [False, True, True, False],
        [True, True, True, False],
    ]
    null = np.array([["equivalent", "undecided"], ["equivalent", "worse"]])
    assert tables.wrong_null(null).tolist() == [False, True]


def test_draws_come_from_the_runs_of_their_cell() -> None:
    drawn = population.sample(TOY.values, 1, 500, 20, np.random.default_rng(0))
    for cell, values in enumerate(TOY.values):
        assert set(drawn.moments.mean[cell]) == set(values)
    several = population.sample(TOY.values, 8, 4000, 20, np.random.default_rng(0))
    np.testing.assert_allclose(several.moments.mean.mean(axis=1), TOY.values.mean(axis=1), atol=0.1)
    # With replacement the variance is that of the whole population.
    np.testing.assert_allclose(
        several.moments.variance.mean(axis=1), TOY.values.var(axis=1), rtol=0.1
    )
    spread = several.means.std(axis=-1).mean(axis=1)
    np.testing.assert_allclose(spread, TOY.values.std(axis=1) * math.sqrt(7 / 64), rtol=0.2)


def test_pairs_stay_within_a_data_set() -> None:
    found = population.pairs(TOY)
    assert len(found) == 10  # of five models; the sixth is alone on its data set
    assert found.max() == 4


def test_a_share_and_its_interval() -> None:
    sums, counts = np.array([1.0, 3.0]), np.array([2.0, 4.0])
    found = run.figure(sums, counts)
    assert found.value == pytest.approx(4 / 6)
    assert (found.low, found.high) == pytest.approx((0.5, 0.75))
    held = run.Figure(0.02, 0.01, 0.03)
    result = {(table, "ours", n): held for table in ("null", "real", "coverage") for n in run.SEEDS}
    result |= {("lost", "ours, lost worst", n): held for n in run.SEEDS}
    assert [met for _, met in run.goals(result)] == [True] * 9 + [False] * 3


def test_other_columns_are_refused(tmp_path: Path) -> None:
    (tmp_path / "runs.csv").write_text("model,dataset,seed\na,b,0\n")
    with pytest.raises(SystemExit, match="no column test_rmse"):
        population.read_population(tmp_path / "runs.csv")
