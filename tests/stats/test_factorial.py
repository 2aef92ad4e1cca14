"""Main effects and interactions against plain averages and an ordinary least-squares fit."""

from collections.abc import Sequence
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headsweep.errors import UserError
from headsweep.stats.factorial import compare_contrast, contrasts
from headsweep.stats.margins import Comparison

KEYS = ("head.regression_num_layers", "head.dropout", "pooling.width")
LEVELS = (("3", "2"), ("0.1", "0"), ("full", "half"))
CELLS = [dict(zip(KEYS, values, strict=True)) for values in product(*LEVELS)]


def verdicts(values: Sequence[np.ndarray], **more: object) -> dict[str, object]:
    terms, options = Comparison(0.1, "plain", comparisons=3), {"events": None, "n_events": None}
    return {
        c.name: compare_contrast(c, values, terms, **options | more)  # type: ignore[arg-type]
        for c in contrasts(CELLS)
    }


def test_names_and_families() -> None:
    found = contrasts(CELLS)
    assert [(c.name, c.against, c.order) for c in found] == [
        ("num_layers=2", "num_layers=3", 1),
        ("dropout=0", "dropout=0.1", 1),
        ("width=half", "width=full", 1),
        ("num_layers=2 with dropout=0", "the sum of both", 2),
        ("num_layers=2 with width=half", "the sum of both", 2),
        ("dropout=0 with width=half", "the sum of both", 2),
    ]


@given(st.permutations(range(8)), st.integers(0, 1000))
def test_effects_are_the_coefficients_of_a_linear_model(order: list[int], seed: int) -> None:
    """In a balanced design each effect is twice, each interaction four times a coefficient."""
    first = [0, *(i for i in order if i)]  # the first cell decides what a first level is
    cells, rng = [CELLS[i] for i in first], np.random.default_rng(seed)
    values = rng.normal(size=(8, 5))
    signs = np.array(
        [
            [1.0 if cell[k] == v[1] else -1.0 for k, v in zip(KEYS, LEVELS, strict=True)]
            for cell in cells
        ]
    )
    pairs = [(0, 1), (0, 2), (1, 2)]
    design = np.column_stack([np.ones(8), signs, *(signs[:, a] * signs[:, b] for a, b in pairs)])
    fitted = np.linalg.lstsq(np.repeat(design, 5, axis=0), values.ravel(), rcond=None)[0]
    found = [float(c.weights @ values.mean(axis=1)) for c in contrasts(cells)]
    np.testing.assert_allclose(found[:3], 2 * fitted[1:4], atol=1e-12)
    np.testing.assert_allclose(found[3:], 4 * fitted[4:], atol=1e-12)


def test_the_interval_is_that_of_a_weighted_sum() -> None:
    rng = np.random.default_rng(1)
    values = [rng.normal(size=6) for _ in range(8)]
    verdict = verdicts(values)["dropout=0"]
    parts = np.array([np.var(v, ddof=1) / 6 for v in values]) / 16
    assert verdict.se_seeds == pytest.approx(np.sqrt(parts.sum()))  # type: ignore[attr-defined]
    df = parts.sum() ** 2 / (parts**2 / 5).sum()
    assert verdict.df == pytest.approx(df)  # type: ignore[attr-defined]


def test_events_add_the_variance_of_the_contrast() -> None:
    rng = np.random.default_rng(2)
    values, events = rng.normal(size=(8, 6)), rng.normal(size=(8, 1000))
    name = "num_layers=2 with width=half"
    contrast = next(c for c in contrasts(CELLS) if c.name == name)
    verdict = verdicts(list(values), events=list(events), n_events=100)[name]
    expected = np.std(contrast.weights @ events, ddof=1)
    assert verdict.se_events == pytest.approx(expected)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "cells",
    [
        CELLS[:7],
        [*CELLS, CELLS[0]],
        [{"a": "1"}, {"a": "2"}],
        [{"a": x, "b": y} for x in "123" for y in "12"],
    ],
)
def test_what_is_no_full_factorial_design_is_refused(cells: list[dict[str, str]]) -> None:
    with pytest.raises(UserError, match="needs every combination of two or more keys"):
        contrasts(cells)
