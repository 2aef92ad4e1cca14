"""Compiled kernels of the CPU: what a step of the training does with the hits of its tracks.

Everywhere K members have B tracks each, ``rows`` [K, B]; ``columns`` are those of the first of P
numbers in a wider array [K, B, A], or -1 for a statistic that is not wanted.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

Kernel = Callable[..., None]


def _compiled(fastmath: bool | set[str]) -> Callable[[Kernel], Kernel]:
    """Compile a function when it is first called; what comes out is kept on disk, if it can be."""
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": fastmath}

    def compile_(function: Kernel) -> Kernel:
        try:
            compiled = numba.njit(cache=True, **options)(function)
        except RuntimeError:  # neither the installation nor a home can be written, as in containers
            compiled = numba.njit(**options)(function)

        @wraps(compiled, updated=())
        def run(*arrays: NDArray[Any]) -> None:
            try:
                compiled(*arrays)
            except OSError:  # the disk took no copy, as it is full; it is compiled all the same
                compiled(*arrays)

        return run

    return compile_


_kernel = _compiled(fastmath={"contract"})
"""Products may be added without rounding them first."""

_exact = _compiled(fastmath=False)
"""Every operation is rounded, as torch rounds operations that are called one by one."""


@_kernel
def extremes(x, weight, bias, offsets, rows, pooled, columns, at):  # type: ignore[no-untyped-def]
    """Maximum and minimum of projected hits, and which hits won; no hit gives 0 and hit -1.

    Of hits x [H, F], track t's at ``offsets[t]:offsets[t + 1]``, times weight [K, F, P] plus bias
    [K, P]; filled are both ``columns`` of ``pooled``, and the hits that won, ``at`` [2, K, B, P].
    Four hits and two features at a time: a hit's sums are added up in the order of its features.
    """
    _, members, batch, outputs = at.shape
    inputs = x.shape[1]
    own = np.empty((6, outputs), x.dtype)  # sums of four hits, and what is not wanted
    one, two, three, four = own[0], own[1], own[2], own[3]
    for k in range(members):
        w = weight[k]
        for i in range(batch):
            first, last = offsets[rows[k, i]], offsets[rows[k, i] + 1]
            top, bottom = own[4], own[5]
            if columns[0] >= 0:
                top = pooled[k, i, columns[0] : columns[0] + outputs]
            if columns[1] >= 0:
                bottom = pooled[k, i, columns[1] : columns[1] + outputs]
            top_at, bottom_at = at[0, k, i], at[1, k, i]
            start = -np.inf if first < last else 0.0
            for o in range(outputs):
                top[o] = start
                bottom[o] = -start
                top_at[o] = -1
                bottom_at[o] = -1
            for a in range(first, last, 4):  # of those that go beyond the end the last stands again
                b, c, d = min(a + 1, last - 1), min(a + 2, last - 1), min(a + 3, last - 1)
                for o in range(outputs):
                    one[o] = two[o] = three[o] = four[o] = bias[k, o]
                for f in range(0, inputs - 1, 2):
                    a0, a1, b0, b1 = x[a, f], x[a, f + 1], x[b, f], x[b, f + 1]
                    c0, c1, d0, d1 = x[c, f], x[c, f + 1], x[d, f], x[d, f + 1]
                    for o in range(outputs):
                        one[o] = one[o] + a0 * w[f, o] + a1 * w[f + 1, o]
                        two[o] = two[o] + b0 * w[f, o] + b1 * w[f + 1, o]
                        three[o] = three[o] + c0 * w[f, o] + c1 * w[f + 1, o]
                        four[o] = four[o] + d0 * w[f, o] + d1 * w[f + 1, o]
                if inputs % 2:
                    a0, b0 = x[a, inputs - 1], x[b, inputs - 1]
                    c0, d0 = x[c, inputs - 1], x[d, inputs - 1]
                    for o in range(outputs):
                        one[o] += a0 * w[inputs - 1, o]
                        two[o] += b0 * w[inputs - 1, o]
                        three[o] += c0 * w[inputs - 1, o]
                        four[o] += d0 * w[inputs - 1, o]
                for o in range(outputs):
                    # "not <=" also takes a NaN, so that a member that diverged is noticed.
                    hits = (one[o], a), (two[o], b), (three[o], c), (four[o], d)
                    best, best_at = top[o], top_at[o]
                    for value, hit in hits:
                        wins = not value <= best
                        best, best_at = (value if wins else best), (hit if wins else best_at)
                    top[o], top_at[o] = best, best_at
                    best, best_at = bottom[o], bottom_at[o]
                    for value, hit in hits:
                        wins = not value >= best
                        best, best_at = (value if wins else best), (hit if wins else best_at)
                    bottom[o], bottom_at[o] = best, best_at


@_kernel
def extremes_backward(x, grad, columns, at, grad_weight, grad_bias):  # type: ignore[no-untyped-def]
    """Add the gradients of both extremes: each output's goes to the hit that won.

    Args:
        x: Hits [H, F].
        grad: Gradient of what was pooled [K, B, A], that of extremes at the columns [2].
        columns: Of the maximum and of the minimum.
        at: The hits that won [2, K, B, P].
        grad_weight: Added to, [K, P, F].
        grad_bias: Added to, [K, P].
    """
    _, members, batch, outputs = at.shape
    inputs = x.shape[1]
    for k in range(members):
        for e in range(2):
            for i in range(batch if columns[e] >= 0 else 0):
                own = grad[k, i, columns[e] : columns[e] + outputs]
                for o in range(outputs):
                    hit = at[e, k, i, o]
                    if hit >= 0:
                        g = own[o]
                        grad_bias[k, o] += g
                        for f in range(inputs):
                            grad_weight[k, o, f] += g * x[hit, f]


@_exact
def gather(source, rows, pooled, column):  # type: ignore[no-untyped-def]
    """Copy rows of ``source`` [T, D] to [K, B, A], from one column on."""
    members, batch = rows.shape
    width = source.shape[1]
    for k in range(members):
        for i in range(batch):
            pooled[k, i, column : column + width] = source[rows[k, i]]


@_exact
def sums(projected, bias, weight, least, pooled, columns):  # type: ignore[no-untyped-def]
    """Weighted averages and sums of projected hits, from the projected sum of the hits.

    Args:
        projected: Weighted sum of a track's hits times the projection, without bias [K, B, P].
        bias: [K, P].
        weight: Sum of a track's weights [K, B].
        least: The same where it is more than the smallest that an average is divided by.
        pooled: Filled at the columns [2] of the average and of the sum.
        columns: Both of them.
    """
    members, batch, outputs = projected.shape
    for k in range(members):
        for i in range(batch):
            for o in range(outputs):
                total = projected[k, i, o] + weight[k, i] * bias[k, o]
                if columns[0] >= 0:
                    pooled[k, i, columns[0] + o] = total / least[k, i]
                if columns[1] >= 0:
                    pooled[k, i, columns[1] + o] = total


@_exact
def sums_backward(grad, weight, least, columns, grad_sum, grad_bias):  # type: ignore[no-untyped-def]
    """Gradient of a track's sum [K, B, P], and the same times its weight, from that of ``sums``."""
    members, batch, outputs = grad_sum.shape
    for k in range(members):
        for i in range(batch):
            for o in range(outputs):
                if columns[0] < 0:
                    total = grad[k, i, columns[1] + o]
                else:
                    total = grad[k, i, columns[0] + o] / least[k, i]
                    if columns[1] >= 0:
                        total += grad[k, i, columns[1] + o]
                grad_sum[k, i, o] = total
                grad_bias[k, i, o] = total * weight[k, i]


@_exact
def drop(x, bits, lowest, factors, out):  # type: ignore[no-untyped-def]
    """Dropout of x [K, B, D]: an entry whose bits [K, ..] are below the lowest [K] becomes 0.

    Others are multiplied by the factors [K] of their members.
    """
    members, batch, width = x.shape
    for k in range(members):
        kept = factors[k]
        dropped = kept - kept  # 0 of the same precision
        for i in range(batch):
            own = bits[k, i * width : (i + 1) * width]
            for o in range(width):
                out[k, i, o] = x[k, i, o] * (kept if own[o] >= lowest[k] else dropped)


@_exact
def norm_backward(grad, bits, lowest, factors, normal, scale, own, product, scaled):  # type: ignore[no-untyped-def]
    """Gradients through a dropout and through the scale of a norm.

    Args:
        grad: Of the dropout's outputs [K, B, D].
        bits: As for ``drop``.
        lowest: Likewise.
        factors: Likewise.
        normal: What is scaled [K, B, D].
        scale: [K, D].
        own: Gradient of the dropout's inputs [K, B, D].
        product: The same times what is scaled.
        scaled: The same times the scale.
    """
    members, batch, width = grad.shape
    for k in range(members):
        kept = factors[k]
        dropped = kept - kept
        for i in range(batch):
            drawn = bits[k, i * width : (i + 1) * width]
            for o in range(width):
                g = grad[k, i, o] * (kept if drawn[o] >= lowest[k] else dropped)
                own[k, i, o] = g
                product[k, i, o] = g * normal[k, i, o]
                scaled[k, i, o] = g * scale[k, o]


@_exact
def store(transposed, rows, start):  # type: ignore[no-untyped-def]
    """Write matrices [K, F, P], transposed, into rows [K, N] from one column on."""
    members, inputs, outputs = transposed.shape
    for k in range(members):
        for first in range(0, outputs, 16):
            for f in range(inputs):
                for o in range(first, min(first + 16, outputs)):
                    rows[k, start + o * inputs + f] = transposed[k, f, o]


@_exact
def store_sum(transposed, matrix, rows, start):  # type: ignore[no-untyped-def]
    """As ``store``, with matrices [K, P, F] added."""
    members, inputs, outputs = transposed.shape
    for k in range(members):
        for o in range(outputs):
            for f in range(inputs):
                rows[k, start + o * inputs + f] = matrix[k, o, f] + transposed[k, f, o]


def compile_all() -> None:
    """Compile all kernels for single precision, or load them from their cache.

    That takes seconds, and must not be broken off, as by a time limit: numba then calls them
    compiled, and has nothing to call.
    """
    flat, cube = np.ones((1, 1), np.float32), np.ones((1, 1, 1), np.float32)
    rows, columns = np.zeros((1, 1), np.int64), np.zeros(2, np.int64)
    at, bits = np.zeros((2, 1, 1, 1), np.int32), np.zeros((1, 4), np.int16)
    dropout = bits, np.zeros(1, np.int64), flat[0]
    extremes(flat, cube, flat, np.array([0, 1]), rows, cube, columns, at)
    extremes_backward(flat, cube, columns, at, cube, flat)
    gather(flat, rows, cube, 0)
    sums(cube, flat, flat, flat, cube, columns)
    sums_backward(cube, flat, flat, columns, cube, cube)
    drop(cube, *dropout, cube)
    norm_backward(cube, *dropout, cube, flat, cube, cube, cube)
    store(cube, flat, 0)
    store_sum(cube, cube, flat, 0)
