"""The surrogate of LCBench: its tasks, its search space, its columns and what random search finds.

Validation cross-entropy at epochs 1 to 52 of an MLP's configuration on 34 OpenML tasks, from
YAHPO's network in ``lcbench_surrogate.onnx``.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution

Array = NDArray[np.float64]

EPOCHS = 52

COLUMNS = (
    "time",
    "val_accuracy",
    "val_cross_entropy",
    "val_balanced_accuracy",
    "test_cross_entropy",
    "test_balanced_accuracy",
)
"""The order of YAHPO Gym's ``lcbench.py``; ``check_columns`` holds it against the values."""

OBJECTIVE = COLUMNS.index("val_cross_entropy")

SPACE: dict[str, BaseDistribution] = {
    "batch_size": IntDistribution(16, 512, log=True),
    "learning_rate": FloatDistribution(1e-4, 1e-1, log=True),
    "momentum": FloatDistribution(0.1, 0.99),
    "weight_decay": FloatDistribution(1e-5, 1e-1),
    "num_layers": IntDistribution(1, 5),
    "max_units": IntDistribution(64, 1024, log=True),
    "max_dropout": FloatDistribution(0.0, 1.0),
}
"""Raw units, in the order of the surrogate's inputs behind the epoch; ranges of YAHPO's space."""

LEFT_OUT = ("#na#", "167083")
"""No task, and one that is not among YAHPO's 34: the surrogate does not fit it (R^2 below 0)."""

RANDOM = 20_000
"""Random configurations that say what is good on a task."""


@dataclass(frozen=True)
class Reference:
    """The objective at the last epoch over random configurations.

    Attributes:
        best: The lowest.
        median: In the middle.
    """

    best: float
    median: float

    def regret(self, value: float) -> float:
        """0 for the best random configuration, 1 for the middling one; negative if better."""
        return (value - self.best) / (self.median - self.best)


class Surrogate:
    """The network, with the random configurations' values of each task kept on disk.

    Args:
        data: Folder of ``lcbench_surrogate.onnx`` and ``lcbench_encoding.json``.
        cache: Where the references are kept; None to compute them again.
    """

    def __init__(self, data: Path, cache: Path | None = None) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(data / "lcbench_surrogate.onnx", options)
        encoding = json.loads((data / "lcbench_encoding.json").read_text())["OpenML_task_id"]
        self._codes = {task: code for task, code in encoding.items() if task not in LEFT_OUT}
        self._cache = cache
        self._references: dict[str, Reference] = {}

    @property
    def tasks(self) -> list[str]:
        """OpenML's ids, sorted as numbers."""
        return sorted(self._codes, key=int)

    def outputs(self, task: str, configs: Array, epochs: Sequence[int]) -> Array:
        """All columns, [configs, epochs, 6].

        Args:
            task: OpenML's id.
            configs: [configs, 7] in the order of ``SPACE``.
            epochs: Each from 1 to 52.
        """
        rows = np.empty((len(configs), len(epochs), 1 + len(SPACE)), np.float32)
        rows[:, :, 0] = epochs
        rows[:, :, 1:] = configs[:, None]
        flat = rows.reshape(-1, rows.shape[2])
        codes = np.full((len(flat), 1), self._codes[task], np.int32)
        values = self._session.run(None, {"x_cat": codes, "x_cont": flat})[0]
        return np.asarray(values, np.float64).reshape(len(configs), len(epochs), len(COLUMNS))

    def curve(self, task: str, params: Mapping[str, float]) -> list[float]:
        """The objective of one configuration at each epoch."""
        config = np.array([[params[name] for name in SPACE]])
        values: list[float] = self.outputs(task, config, range(1, EPOCHS + 1))[
            0, :, OBJECTIVE
        ].tolist()
        return values

    def reference(self, task: str) -> Reference:
        """What 20,000 random configurations reach; the same ones on all tasks."""
        if task not in self._references:
            values = self._random_values(task)
            self._references[task] = Reference(float(values.min()), float(np.median(values)))
        return self._references[task]

    def _random_values(self, task: str) -> Array:
        file = None if self._cache is None else self._cache / f"lcbench-{RANDOM}-{task}.npy"
        if file is not None and file.exists():
            kept: Array = np.load(file)
            return kept
        configs = random_configs(RANDOM, np.random.default_rng(0))
        parts = np.array_split(configs, 20)
        values = np.concatenate([self.outputs(task, p, [EPOCHS])[:, 0, OBJECTIVE] for p in parts])
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
            np.save(file, values)
        return values


def random_configs(n: int, rng: np.random.Generator) -> Array:
    """Configurations drawn evenly from the space, [n, 7]."""
    columns = []
    for distribution in SPACE.values():
        assert isinstance(distribution, FloatDistribution | IntDistribution)
        low, high = float(distribution.low), float(distribution.high)
        if isinstance(distribution, IntDistribution):
            low, high = low - 0.5, high + 0.5
        if distribution.log:
            column = np.exp(rng.uniform(np.log(low), np.log(high), n))
        else:
            column = rng.uniform(low, high, n)
        if isinstance(distribution, IntDistribution):
            column = np.clip(np.rint(column), distribution.low, distribution.high)
        columns.append(column)
    return np.stack(columns, axis=1)


def check_columns(surrogate: Surrogate, n: int = 40) -> list[str]:
    """Hold the six columns against what their names demand.

    LCBench computed its test cross-entropy from probabilities as if they were logits. It cannot
    fall below log(1 + (C - 1)/e) for C classes, while the validation column does: this tells the
    two apart, and says which of them is a cross-entropy.

    Args:
        surrogate: The network.
        n: Random configurations on each of every third task.

    Returns:
        What was found, one line each.

    Raises:
        ValueError: A column is not what it is taken for.
    """
    configs = random_configs(n, np.random.default_rng(1))
    tasks = surrogate.tasks[::3]
    values = np.stack([surrogate.outputs(t, configs, range(1, EPOCHS + 1)) for t in tasks])
    time, accuracy, val, balanced, test, test_balanced = np.moveaxis(values, -1, 0)
    # Before they have learned anything networks say 1/C, and both cross-entropies are log C.
    classes = np.exp(np.median(test[:, :, 0], axis=1)).round().clip(2)
    floor = np.log1p((classes - 1) / np.e)[:, None, None]

    def together(a: Array, b: Array) -> float:
        """Median over the tasks of the correlation over configurations at the last epoch."""
        return float(
            np.median([np.corrcoef(x[:, -1], y[:, -1])[0, 1] for x, y in zip(a, b, strict=True)])
        )

    rises = float((np.diff(time, axis=2) > 0).mean())
    doubling = float(np.median(time[:, :, -1] / time[:, :, EPOCHS // 2 - 1]))
    same = together(balanced, test_balanced)
    against = together(accuracy, val)
    learned = float((val[:, :, -1] < val[:, :, 0]).mean())
    lowest_val, lowest_test = float((val - floor).min()), float((test - floor).min())
    facts = {
        f"time rises from epoch to epoch ({rises:.1%}), x{doubling:.2f} from 26 to 52": (
            bool((time > 0).all()) and rises > 0.95 and 1.7 < doubling < 2.3
        ),
        f"val_accuracy is in percent, up to {accuracy.max():.1f}": 90 < accuracy.max() <= 100,
        f"the balanced accuracies lie in [0, 1], correlation {same:.3f}": (
            min(balanced.min(), test_balanced.min()) >= 0
            and max(balanced.max(), test_balanced.max()) <= 1
            and same > 0.95
        ),
        f"val_cross_entropy falls as accuracy rises, correlation {against:.2f}": against < -0.4,
        f"val_cross_entropy falls from epoch 1 to 52 in {learned:.0%} of the runs": learned > 0.75,
        f"test_cross_entropy stays above its floor log(1 + (C-1)/e), by {lowest_test:+.2f} at "
        "least": lowest_test > -0.1,
        f"val_cross_entropy falls below that floor, by {lowest_val:+.2f}": lowest_val < -0.2,
    }
    if wrong := [fact for fact, holds in facts.items() if not holds]:
        raise ValueError(f"lcbench_surrogate.onnx: columns are not {COLUMNS}: no {wrong}")
    return list(facts)
