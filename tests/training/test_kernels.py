"""The compiled kernels: against plain numpy, and compiled for what a training calls them with."""

import errno

import numpy as np
import pytest
import torch

from headsweep.config import PoolingConfig
from headsweep.heads.mlp import MLPHead
from headsweep.training import kernels
from headsweep.training.direct import gradients
from headsweep.training.loss import Loss
from headsweep.training.members import Population, build_member
from headsweep.training.pooling import to_hits
from helpers.dense import ragged

KERNELS = (
    *(kernels.extremes, kernels.extremes_backward, kernels.gather, kernels.sums),
    *(kernels.sums_backward, kernels.drop, kernels.norm_backward),
    *(kernels.store, kernels.store_sum),
)


@pytest.mark.parametrize("inputs", [1, 4, 23])
@pytest.mark.parametrize("columns", [[0, 5], [5, 0], [-1, 2], [2, -1]])
def test_extremes_and_their_gradients(inputs: int, columns: list[int]) -> None:
    rng = np.random.default_rng(inputs)
    counts = np.array([0, 1, 2, 3, 4, 5, 6, 7, 9])
    offsets = np.concatenate([[0], np.cumsum(counts)])
    x = rng.normal(size=(offsets[-1], inputs))
    weight, bias = rng.normal(size=(2, inputs, 5)), rng.normal(size=(2, 5))
    rows = np.stack([np.arange(9), rng.permutation(9)])
    pooled, at = np.full((2, 9, 10), 7.0), np.empty((2, 2, 9, 5), np.int32)
    kernels.extremes(x, weight, bias, offsets, rows, pooled, np.array(columns), at)
    grad = rng.normal(size=(2, 9, 10))
    grad_weight, grad_bias = np.zeros((2, 5, inputs)), np.zeros((2, 5))
    kernels.extremes_backward(x, grad, np.array(columns), at, grad_weight, grad_bias)
    want_weight, want_bias = np.zeros_like(grad_weight), np.zeros_like(grad_bias)
    for k, i in np.ndindex(2, 9):
        own = slice(offsets[rows[k, i]], offsets[rows[k, i] + 1])
        projected = x[own] @ weight[k] + bias[k]
        for column, best in zip(columns, (np.argmax, np.argmin), strict=True):
            if column < 0:
                continue
            found = pooled[k, i, column : column + 5]
            if not len(projected):
                assert (found == 0).all()
                continue
            hits = best(projected, axis=0)
            np.testing.assert_allclose(found, projected[hits, np.arange(5)], rtol=1e-12)
            g = grad[k, i, column : column + 5]
            want_bias[k] += g
            want_weight[k] += g[:, None] * x[own][hits]
    np.testing.assert_allclose(grad_weight, want_weight, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(grad_bias, want_bias, rtol=1e-12, atol=1e-12)
    unused = [c for c in range(10) if not any(b <= c < b + 5 for b in columns if b >= 0)]
    assert (pooled[..., unused] == 7).all()


def test_matrices_are_stored_transposed() -> None:
    rng = np.random.default_rng(0)
    transposed, matrix = rng.normal(size=(2, 3, 37)), rng.normal(size=(2, 37, 3))
    rows = np.zeros((2, 120))
    kernels.store(transposed, rows, 4)
    np.testing.assert_array_equal(rows[:, 4:115].reshape(2, 37, 3), transposed.swapaxes(1, 2))
    kernels.store_sum(transposed, matrix, rows, 4)
    want = matrix + transposed.swapaxes(1, 2)
    np.testing.assert_array_equal(rows[:, 4:115].reshape(2, 37, 3), want)
    assert (rows[:, :4] == 0).all()
    assert (rows[:, 115:] == 0).all()


def test_dropout_keeps_what_is_drawn_above_the_lowest() -> None:
    x = np.ones((2, 1, 4), np.float32)
    bits = np.array([[-3, -2, 0, 9]] * 2, np.int16)
    out = np.empty_like(x)
    kernels.drop(x, bits, np.array([-2, 9]), np.array([1.25, 2], np.float32), out)
    assert out.tolist() == [[[0, 1.25, 1.25, 1.25]], [[0, 0, 0, 2]]]


def test_all_are_compiled_for_what_a_training_calls_them_with() -> None:
    kernels.compile_all()
    before = [len(kernel.__wrapped__.signatures) for kernel in KERNELS]
    config, hits = PoolingConfig(), to_hits(ragged([3, 0, 2]))

    def member() -> torch.nn.Module:
        return build_member(config, 5, 4, 4, lambda a, o: MLPHead(a, o, 8, 2, 0.1, True))

    rows, loss = torch.arange(3).expand(2, -1).contiguous(), Loss.unfitted({"target": {}})
    gradients(Population(member, config, [0, 1]), hits, torch.zeros((3, 4)), loss, rows)
    assert [len(kernel.__wrapped__.signatures) for kernel in KERNELS] == before


def test_one_that_cannot_be_kept_on_disk_is_compiled_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def add(x: np.ndarray) -> None:  # type: ignore[type-arg]
        x += 1

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    kernel, x = kernels._kernel(add), np.zeros(2)
    monkeypatch.setattr(kernel.__wrapped__._cache, "save_overload", full)
    kernel(x)
    np.testing.assert_array_equal(x, 1)
