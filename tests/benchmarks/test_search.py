"""The search benchmark: its columns, its account of epochs, its seeds, and what regret 0 is."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from optuna.trial import Trial

ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared/data"
sys.path.insert(0, str(ROOT / "benchmarks/search"))

pytest.importorskip("onnxruntime", reason="pip install onnxruntime")
if not (DATA / "lcbench_surrogate.onnx").exists():
    pytest.skip("no lcbench_surrogate.onnx", allow_module_level=True)

import contest  # noqa: E402
import lcbench  # noqa: E402

pytestmark = pytest.mark.slow

TASK = "126026"
BUDGET = 14 * lcbench.EPOCHS + 20
OURS = contest.Method(
    "ours", contest.TPE, contest.PERCENTILE | {"percentile": 25.0, "n_warmup_steps": 5}, lag=4
)
ASHA = contest.Method("ASHA", contest.RANDOM, contest.ASHA)


@pytest.fixture(scope="module")
def surrogate() -> lcbench.Surrogate:
    return lcbench.Surrogate(DATA)


def test_the_columns_are_what_they_are_taken_for(
    surrogate: lcbench.Surrogate, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(lcbench.check_columns(surrogate)) == 7
    assert len(surrogate.tasks) == 34
    outputs = surrogate.outputs
    for order in ([0, 1, 4, 3, 2, 5], [5, 1, 2, 3, 4, 0], [0, 3, 2, 1, 4, 5]):
        monkeypatch.setattr(surrogate, "outputs", lambda *a, o=order: outputs(*a)[..., o])
        with pytest.raises(ValueError, match="columns are not"):
            lcbench.check_columns(surrogate, n=10)


def test_the_best_random_configuration_has_regret_0(surrogate: lcbench.Surrogate) -> None:
    reference = surrogate.reference(TASK)
    configs = lcbench.random_configs(lcbench.RANDOM, np.random.default_rng(0))
    for distribution, column in zip(lcbench.SPACE.values(), configs.T, strict=True):
        assert distribution.low <= column.min() < column.max() <= distribution.high
    values = surrogate.outputs(TASK, configs, [lcbench.EPOCHS])[:, 0, lcbench.OBJECTIVE]
    curve = surrogate.curve(TASK, dict(zip(lcbench.SPACE, configs[values.argmin()], strict=True)))
    assert reference.regret(curve[-1]) == pytest.approx(0, abs=1e-5)
    assert reference.regret(reference.median) == 1


@pytest.mark.parametrize(
    "method", [OURS, ASHA, contest.Method("TPE", contest.TPE)], ids=lambda m: m.name
)
def test_no_epoch_is_spent_that_the_budget_has_not(
    surrogate: lcbench.Surrogate, monkeypatch: pytest.MonkeyPatch, method: contest.Method
) -> None:
    told: list[tuple[str, int]] = []
    for source in (contest.Ours, contest.Plain):
        tell = source.tell

        def count(self: Any, trial: Trial, state: str, values: Any, tell: Any = tell) -> Any:
            told.append((state, trial.number))
            return tell(self, trial, state, values)

        monkeypatch.setattr(source, "tell", count)
    result = contest.play(method, surrogate, TASK, 0, BUDGET)
    assert result.epochs == BUDGET  # the last trial is cut off, and spent in vain
    assert result.begun == len(told) + 1
    assert result.complete == sum(state == "complete" for state, _ in told)
    assert result.complete * lcbench.EPOCHS <= BUDGET
    assert (result.begun > BUDGET // lcbench.EPOCHS + 1) == (method.pruner is not None)


def test_the_seed_decides_everything(surrogate: lcbench.Surrogate) -> None:
    first, again, other = (contest.play(OURS, surrogate, TASK, s, BUDGET) for s in (0, 0, 1))
    assert first == again != other
