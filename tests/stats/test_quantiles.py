"""Our quantile against numpy's, to the last bit."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from headsweep.stats.quantiles import quantile

SAMPLES = arrays(np.float64, array_shapes(min_dims=1, max_dims=3, max_side=30))


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning", "ignore:overflow:RuntimeWarning")
@given(SAMPLES, st.floats(0, 1))
def test_quantiles_are_numpys_with_nan_and_infinities(values: np.ndarray, at: float) -> None:
    expected = np.quantile(values, at, axis=-1)
    np.testing.assert_array_equal(quantile(values, at), expected)


@pytest.mark.parametrize("n", [1, 2, 3, 1000, 1001])
def test_quantiles_of_each_row(n: int) -> None:
    values = np.random.default_rng(n).normal(size=(7, n))
    before = values.copy()
    for at in (0.0, 0.15865, 0.5, 0.6827, 1.0):
        assert quantile(values, at).tolist() == np.quantile(values, at, axis=-1).tolist()
    np.testing.assert_array_equal(values, before)
