"""Main effects and interactions against plain averages and an ordinary least-squares fit."""

from collections.abc import Sequence
from dataclasses import asdict
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headsweep.config import MLPHeadConfig
from headsweep.errors import UserError
from headsweep.report.render import write
from headsweep.stats.factorial import contrasts, judge
from headsweep.store import runs
from helpers.toy_runs import toy_score, write_cache, write_toy_job

KEYS = ("head.regression_num_layers", "head.dropout", "pooling.width")
LEVELS = (("3", "2"), ("0.1", "0"), ("full", "half"))
CELLS = [dict(zip(KEYS, values, strict=True)) for values in product(*LEVELS)]


def verdicts(values: Sequence[np.ndarray], **more: object) -> dict[str, object]:
    options = {"scale": "plain", "comparisons": 3, "events": None, "n_events": None, **more}
    return {
        c.name: judge(c, values, 0.1, **options)  # type: ignore[arg-type]
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


def test_a_report_shows_both_families(tmp_path: Path) -> None:
    """ln r68 is the sum of the parts, but for two layers without dropout."""
    write_cache(tmp_path, "cache")
    sweep = tmp_path / "sweeps" / "f"
    runs.claim_sweep(sweep, {"seeds": 4, "design": {"kind": "factorial"}})
    for number, (layers, dropout) in enumerate(product((3, 2), (0.1, 0.0))):
        width = 0.1 * (1.2 if layers == 2 else 1) * (1.1 if dropout == 0 else 1)
        width *= 1.3 if (layers, dropout) == (2, 0.0) else 1
        head = MLPHeadConfig(regression_num_layers=layers, dropout=dropout)
        overrides = [f"head.regression_num_layers={layers}", f"head.dropout={dropout}"]
        widths = {s: width * (1 + 0.005 * s) for s in range(4)}
        write_toy_job(
            sweep / "jobs" / str(number), widths, overrides=overrides, config={"head": asdict(head)}
        )
    built = write.build_report(sweep, tmp_path, toy_score)
    assert [e.arm for e in built.effects] == [
        *("num_layers=2", "dropout=0"),
        "num_layers=2 with dropout=0",
    ]
    expected = [np.log(1.2) + np.log(1.3) / 2, np.log(1.1) + np.log(1.3) / 2, np.log(1.3)]
    for effect, value in zip(built.effects, expected, strict=True):
        assert effect.verdict is not None
        assert effect.verdict.delta == pytest.approx(value, abs=0.005)
        assert effect.verdict.word == "worse"
    assert [e.verdict.comparisons for e in built.effects if e.verdict] == [2, 2, 1]
