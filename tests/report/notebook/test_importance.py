"""Importances and pictures of searches whose answer is known."""

from pathlib import Path

import numpy as np
import optuna
import pytest
from matplotlib.figure import Figure
from optuna.distributions import FloatDistribution, IntDistribution

from headsweep.errors import UserError
from headsweep.report.notebook import importance, search_plots
from headsweep.report.render.matplotlib_renderer import png
from headsweep.store import specification
from headsweep.store.outcome import Outcome
from headsweep.store.trials import Trials

SPACE = {
    "width": IntDistribution(8, 512, log=True),
    "dropout": FloatDistribution(0, 0.4),
    "layers": IntDistribution(1, 4),
}


def searched(n: int = 60, pruned: bool = False, sign: float = 1.0) -> Trials:
    """A random search where only the width matters; some trials chose no dropout."""
    rng = np.random.default_rng(3)
    outcomes = {}
    for number in range(n):
        params = {
            "width": int(np.exp(rng.uniform(np.log(8), np.log(512)))),
            "dropout": rng.uniform(0, 0.4),
            "layers": int(rng.integers(1, 5)),
        }
        value = 0.2 + abs(np.log(params["width"] / 64)) + 0.01 * rng.random()
        if number % 7 == 0:
            del params["dropout"]
        state = "pruned" if pruned and value > 1.2 else "complete"
        if number == 5:
            outcomes[number] = Outcome("failed", "why", params=params)
        else:
            outcomes[number] = Outcome(state, values=[sign * value], spread=[0.01], params=params)
    direction = "minimize" if sign > 0 else "maximize"
    return Trials(outcomes, n, ["val_qoverpt_r68"], [direction])


@pytest.fixture(scope="module")
def found() -> importance.Importances:
    return importance.importances(searched(), SPACE, np.random.default_rng(0), resamples=60)


def test_what_matters_is_told_from_chance(found: importance.Importances) -> None:
    table = found.table
    assert table.index[0] == "width"
    assert table["importance"].sum() == pytest.approx(1)
    assert table.loc["width", "chance"] < 0.05
    assert (table.loc[["dropout", "layers"], "chance"] > 0.05).all()
    assert table.loc["width", "low"] > 0.5
    assert ((table["low"] <= table["high"]) & (table["low"] >= 0) & (table["high"] <= 1)).all()
    assert table["trials"].to_dict() == {"width": 59, "layers": 59, "dropout": 50}
    assert (found.complete, found.pruned, found.best) == (59, 0, 15)
    assert "Not told from chance: " in found.note()
    assert "width" not in found.note()


def test_the_values_are_those_of_optuna(found: importance.Importances) -> None:
    study = optuna.create_study()
    for outcome in searched().outcomes.values():
        if outcome.state == "complete":
            study.add_trial(
                optuna.trial.create_trial(
                    params=outcome.params,
                    distributions={key: SPACE[key] for key in outcome.params},
                    value=outcome.values[0],
                )
            )
    evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=importance.BEST)
    theirs = optuna.importance.get_param_importances(study, evaluator=evaluator)
    assert found.table["importance"].to_dict() == pytest.approx(theirs)


def test_direction_pruning_and_the_generator() -> None:
    def table(trials: Trials, seed: int = 0) -> dict[str, dict[str, float]]:
        rng = np.random.default_rng(seed)
        made = importance.importances(trials, SPACE, rng, resamples=5)
        return made.table.to_dict()

    plain = table(searched())
    assert table(searched(sign=-1.0)) == plain
    # Who is pruned was bad: which of the bad ones is worse does not matter.
    assert importance.importances(
        searched(pruned=True), SPACE, np.random.default_rng(0), resamples=1
    ).pruned
    assert table(searched(pruned=True))["importance"] == plain["importance"]
    assert table(searched(), seed=1)["low"] != plain["low"]


def test_too_few_trials_and_no_search(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="need 4 trials or more, there are 2"):
        importance.importances(searched(2), SPACE, np.random.default_rng(0))
    with pytest.raises(UserError, match="is no search"):
        importance.read_space(tmp_path)


def test_the_space_is_read_back(tmp_path: Path) -> None:
    search = {
        "width": "tag(log, int(interval(8, 512)))",
        "dropout": "interval(0.0, 0.4)",
        "head": "choice('a', 'b')",
    }
    specification.claim_sweep(tmp_path, {"search": search})
    space = importance.read_space(tmp_path)
    assert space["width"] == SPACE["width"]
    assert space["dropout"] == SPACE["dropout"]
    assert importance.read_ranges(tmp_path) == {
        "width": importance.Range(8, 512, log=True, whole=True),
        "dropout": importance.Range(0, 0.4),
    }


def shown(figure: Figure) -> list[str]:
    """Names of the axes, once it is drawn without an error."""
    assert png(figure)[:4] == b"\x89PNG"
    return [name for axes in figure.axes for name in (axes.get_xlabel(), axes.get_ylabel())]


@pytest.mark.parametrize("n", [3, 60])
def test_pictures(n: int, found: importance.Importances) -> None:
    ranges = {
        key: importance.Range(own.low, own.high, own.log)
        for key, own in SPACE.items()
        if isinstance(own, FloatDistribution | IntDistribution)
    }
    names = shown(search_plots.contour_figure(searched(n, pruned=n > 3), ranges))
    assert names[:6] == ["width", "dropout", "width", "layers", "dropout", "layers"]
    assert "val_qoverpt_r68, mean over the seeds" in names
    assert "importance, as a share of all" in shown(search_plots.importance_figure(found))[0]


def test_contours_are_those_of_a_plane() -> None:
    """Between trials on a plane the colour is that of the plane."""
    points = [(x, y) for x in (0.0, 0.5, 1.0) for y in (0.0, 0.4, 1.0)]
    trials = Trials(
        {
            i: Outcome("complete", values=[1 + x + y], params={"x": x, "y": y})
            for i, (x, y) in enumerate(points)
        },
        9,
        ["loss"],
        ["minimize"],
    )
    one = importance.Range(0, 1)
    axes = search_plots.contour_figure(trials, {"x": one, "y": one}).axes[0]
    (contours,) = [c for c in axes.collections if hasattr(c, "levels")]
    for level, path in zip(contours.levels[1:-1], contours.get_paths()[1:], strict=True):
        # The lower edge of each band is the line 1 + x + y = level.
        on_lower = np.isclose(path.vertices.sum(axis=1) + 1, level, atol=1e-6)
        assert on_lower.any()
