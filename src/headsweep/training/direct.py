"""Losses and gradients of a population without autograd, for what is trained most.

Of a small step autograd spends most of the time on its graph, on views of the weights and on new
memory. Here the formulas of linear projections and of ``MLPHead`` stand written out. What adds up
products is left to the kernels of torch that autograd would call, on operands of the same layout;
the rest is compiled, each operation rounded as there. So all bits are the same. Results go into
memory that is kept from step to step. Losses other than the plain SmoothL1 keep autograd.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from headsweep.heads.mlp import MLPHead
from headsweep.training import kernels
from headsweep.training.loss import Loss, Losses, mean
from headsweep.training.members import Population
from headsweep.training.pooling import MIN_WEIGHT, Hits, projected_dim

Params = Mapping[str, Tensor]


def gradients(
    population: Population, hits: Hits, targets: Tensor, loss: Loss | Losses, rows: Tensor
) -> tuple[Tensor, Tensor]:
    """Losses [K] of all members and their gradients [K, N], which the next call may overwrite.

    Args:
        population: The members.
        hits: The training split.
        targets: Its encoded targets [T, O].
        loss: What is minimised.
        rows: Tracks of each member's batch [K, B].
    """
    if not is_direct(population):
        return autograd(population, hits, targets, loss, rows)
    kept = population.kept
    if not isinstance(kept, Direct) or not kept.fits(population, hits, rows):
        kept = population.kept = Direct(population, hits, rows.shape[1])
    return kept(population, targets, loss, rows)


def autograd(
    population: Population, hits: Hits, targets: Tensor, loss: Loss | Losses, rows: Tensor
) -> tuple[Tensor, Tensor]:
    """As ``gradients``, for every head and pooling on every device."""
    values = loss.of_members(population.forward(hits, rows), targets[rows])
    (grads,) = torch.autograd.grad(values.sum(), population.weights)
    return values.detach(), grads


def is_direct(population: Population) -> bool:
    """True for linear projections and an ``MLPHead`` on the CPU; all else needs autograd."""
    plain = type(population.template.head) is MLPHead
    linear = population.config.projection == "linear"
    return plain and linear and population.weights.device.type == "cpu"


class Direct:
    """Memory of a population's steps, and what they do with it.

    Args:
        population: Its weights stay where they are; one that is compacted needs another.
        hits: The training split.
        batch: Tracks in a member's batch, B.
    """

    def __init__(self, population: Population, hits: Hits, batch: int) -> None:
        config, weights = population.config, population.weights.detach()
        self.hits, self.batch, self.dropout = hits, batch, population.dropout
        self.grads = torch.zeros_like(weights)
        params, grads = population.named(weights), population.named(self.grads)
        self.share: Tensor | None = None
        self.weight, self.least = weights.new_empty((2, len(weights), batch))
        self.copied: list[tuple[NDArray[Any], int]] = []
        column = 0
        if config.query:
            self.copied.append((hits.query.numpy(), column))
            column += hits.query.shape[1]
        self.projections: list[_Projection] = []
        for name in ("raw", "encoded"):
            if getattr(config, name):
                own = [p[f"{name}.{n}"] for p in (params, grads) for n in ("weight", "bias")]
                width = projected_dim(config, hits.query.shape[1])
                columns = {s: column + i * width for i, s in enumerate(config.statistics)}
                sums = self.weight, self.least
                self.projections.append(_Projection(hits, name, columns, *sums, own, self.grads))
                column += len(columns) * width
        if config.analytic:
            assert hits.estimate is not None
            self.copied.append((hits.estimate.numpy(), column))
            column += hits.estimate.shape[1]
        self.pooled = weights.new_empty((len(weights), batch, column))
        self.layers: list[_Linear | _Hidden] = []
        x, modules = self.pooled, dict(population.template.head.named_children())
        for index in range(0, len(modules), 4):
            layer = _Linear(f"head.{index}.", x, params, grads, self.grads)
            self.layers.append(layer)
            if index + 1 < len(modules):
                norm, dropout = modules[f"{index + 2}"], modules[f"{index + 3}"]
                assert isinstance(dropout, nn.Dropout)
                thresholds, name = population.drop_thresholds(dropout.p), f"head.{index + 2}."
                self.layers[-1] = _Hidden(layer, name, norm, thresholds, params, grads)
            x = layer.out  # of the same shape as what a norm and a dropout make of it

    def fits(self, population: Population, hits: Hits, rows: Tensor) -> bool:
        """True if a step on these is one for which it was made."""
        same = self.hits is hits and self.dropout is population.dropout
        return same and self.batch == rows.shape[1]

    def __call__(
        self, population: Population, targets: Tensor, loss: Loss | Losses, rows: Tensor
    ) -> tuple[Tensor, Tensor]:
        """As ``gradients``."""
        at, pooled = rows.numpy(), self.pooled.numpy()
        for values, column in self.copied:
            kernels.gather(values, at, pooled, column)
        torch.take(self.hits.weight, rows, out=self.weight)
        torch.clamp_min(self.weight, MIN_WEIGHT, out=self.least)
        for projection in self.projections:
            projection.forward(at, pooled)
        x = self.pooled
        for layer in self.layers:
            x = layer.forward(x, population)
        losses, grad = self.losses(loss, x, targets[rows])
        for layer in reversed(self.layers):
            grad = layer.backward(grad)
        for projection in self.projections:
            projection.backward(grad.numpy())
        return losses, self.grads

    def losses(
        self, loss: Loss | Losses, outputs: Tensor, targets: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Losses [K] and their gradients by the outputs [K, B, O]."""
        if (beta := loss.plain_beta) is None:
            outputs = outputs.detach().requires_grad_()
            losses = loss.of_members(outputs, targets)
            (grad,) = torch.autograd.grad(losses.sum(), outputs)
            return losses.detach(), grad
        if self.share is None:  # gradient of the mean by each entry, rounded as autograd does
            entries = torch.zeros_like(outputs, requires_grad=True)
            (self.share,) = torch.autograd.grad(mean(entries).sum(), entries)
        each = torch.ops.aten.smooth_l1_loss(outputs, targets, 0, beta)
        grad = torch.ops.aten.smooth_l1_loss_backward(self.share, outputs, targets, 0, beta)
        return mean(each), grad


class _Projection:
    """A linear projection of hits, and its statistics.

    Args:
        hits: The training split.
        name: ``raw`` or ``encoded``.
        columns: First column of each statistic in the pooled vector.
        weight: Sum of the weights of a track's hits [K, B], filled before ``forward``.
        least: The same, and not too little to divide by.
        params: Weight [K, P, F], bias [K, P], and the gradients of both, views of ``rows``.
        rows: Gradients of all parameters [K, N].
    """

    def __init__(
        self,
        hits: Hits,
        name: str,
        columns: Mapping[str, int],
        weight: Tensor,
        least: Tensor,
        params: list[Tensor],
        rows: Tensor,
    ) -> None:
        self.params, self.grad_bias, self.start = params, params[3], params[2].storage_offset()
        self.rows, self.weights = rows.numpy(), (weight.numpy(), least.numpy())
        self.x, self.offsets = getattr(hits, name).numpy(), hits.offsets.numpy()
        self.x_sum = getattr(hits, f"{name}_sum").numpy()
        self.means, self.extremes = (
            np.array([columns.get(s, -1) for s in two]) for two in (("avg", "sum"), ("max", "min"))
        )
        new, (members, outputs, inputs) = weight.new_empty, params[0].shape
        self.total = new((*weight.shape, inputs))
        self.projected, self.grad_sum, self.weighted = new((3, *weight.shape, outputs))
        self.transposed, self.from_sums = new((2, members, inputs, outputs))
        self.at = np.empty((2, *weight.shape, outputs), np.int32)
        self.bias, self.from_extremes = new((2, members, outputs))
        self.matrix = new((members, outputs, inputs))

    def forward(self, rows: NDArray[Any], pooled: NDArray[Any]) -> None:
        """Fill the columns of the pooled vector [K, B, A] for tracks [K, B]."""
        matrix, bias = self.params[0], self.bias.copy_(self.params[1]).numpy()
        if self.means.max() >= 0:
            kernels.gather(self.x_sum, rows, self.total.numpy(), 0)
            projected = torch.bmm(self.total, matrix.mT, out=self.projected).numpy()
            kernels.sums(projected, bias, *self.weights, pooled, self.means)
        if self.extremes.max() >= 0:
            transposed = self.transposed.copy_(matrix.mT).numpy()
            split = self.x, transposed, bias, self.offsets, rows
            kernels.extremes(*split, pooled, self.extremes, self.at)

    def backward(self, grad: NDArray[Any]) -> None:
        """Fill the gradients from that of the pooled vector [K, B, A]."""
        matrix, bias = self.matrix.zero_().numpy(), self.from_extremes.zero_()
        if self.extremes.max() >= 0:
            kernels.extremes_backward(self.x, grad, self.extremes, self.at, matrix, bias.numpy())
        self.from_sums.zero_()
        if self.means.max() >= 0:
            own = self.grad_sum.numpy(), self.weighted.numpy()
            kernels.sums_backward(grad, *self.weights, self.means, *own)
            torch.bmm(self.total.mT, self.grad_sum, out=self.from_sums)
            bias = bias.add_(self.weighted.sum(1))
        self.grad_bias.copy_(bias)
        kernels.store_sum(self.from_sums.numpy(), matrix, self.rows, self.start)


class _Linear:
    """A linear layer of a head.

    Args:
        name: Of its parameters, up to the last dot.
        x: Has the shape of its inputs [K, B, in].
        params: Parameters of all members.
        grads: Their gradients, views of ``rows``.
        rows: Gradients of all parameters [K, N].
    """

    def __init__(self, name: str, x: Tensor, params: Params, grads: Params, rows: Tensor) -> None:
        self.weight, self.bias = params[f"{name}weight"], params[f"{name}bias"].unsqueeze(1)
        self.matrix, self.grad_bias = self.weight.mT, grads[f"{name}bias"].unsqueeze(1)
        self.rows, self.start = rows.numpy(), grads[f"{name}weight"].storage_offset()
        self.out = x.new_empty((*x.shape[:2], self.weight.shape[1]))
        self.transposed = torch.empty_like(self.matrix, memory_format=torch.contiguous_format)
        self.grad = torch.empty_like(x)

    def forward(self, x: Tensor, _: Population) -> Tensor:
        """[K, B, in] to [K, B, out]."""
        self.x_turned = x.mT
        return torch.baddbmm(self.bias, x, self.matrix, out=self.out)

    def backward(self, grad: Tensor) -> Tensor:
        """Gradient of the inputs from that of the outputs; fills those of the parameters."""
        torch.sum(grad, 1, keepdim=True, out=self.grad_bias)
        torch.bmm(self.x_turned, grad, out=self.transposed)
        kernels.store(self.transposed.numpy(), self.rows, self.start)
        return torch.bmm(grad, self.weight, out=self.grad)


class _Hidden:
    """A linear layer, ReLU, a norm or none, and dropout.

    Args:
        linear: The linear layer.
        name: Of the norm's parameters, up to the last dot.
        norm: ``LayerNorm`` or ``Identity``.
        thresholds: Those of the members' dropouts, ``Population.drop_thresholds``.
        params: Parameters of all members.
        grads: Their gradients.
    """

    def __init__(
        self,
        linear: _Linear,
        name: str,
        norm: nn.Module,
        thresholds: list[int],
        params: Params,
        grads: Params,
    ) -> None:
        self.linear, self.norm = linear, norm if isinstance(norm, nn.LayerNorm) else None
        members, batch, width = linear.out.shape
        if self.norm is not None:
            self.scale, self.shift = params[f"{name}weight"], params[f"{name}bias"].unsqueeze(1)
            own = [grads[f"{name}{n}"].unsqueeze(1) for n in ("weight", "bias")]
            self.grad_scale, self.grad_shift = own
            self.flat_scale = torch.empty((members, width), dtype=self.scale.dtype)
        self.draws = any(thresholds)
        self.words = torch.empty((members, -(-batch * width // 4)), dtype=torch.int64)
        lowest = np.array(thresholds) - 2**15
        factors = linear.out.new_tensor([2**16 / (2**16 - t) for t in thresholds])
        self.dropout = self.words.view(torch.int16).numpy(), lowest, factors.numpy()
        self.out, self.grad, self.product, self.scaled = linear.out.new_empty(
            (4, *linear.out.shape)
        )

    def forward(self, x: Tensor, population: Population) -> Tensor:
        """[K, B, in] to [K, B, out]."""
        y = self.linear.forward(x, population).relu_()
        if self.norm is not None:
            own = self.norm.normalized_shape, None, None, self.norm.eps
            self.normal, self.mean, self.inverse = torch.native_layer_norm(y, *own)
            y = torch.addcmul(self.shift, self.normal, self.scale.unsqueeze(1), out=self.out)
        if self.draws:
            population.draw(self.words)
            kernels.drop(y.numpy(), *self.dropout, self.out.numpy())
            y = self.out
        return y

    def backward(self, grad: Tensor) -> Tensor:
        """As of ``_Linear``."""
        if self.norm is not None:
            own = self.normal.numpy(), self.flat_scale.copy_(self.scale).numpy()
            to = self.grad.numpy(), self.product.numpy(), self.scaled.numpy()
            kernels.norm_backward(grad.numpy(), *self.dropout, *own, *to)
            torch.sum(self.grad, 1, keepdim=True, out=self.grad_shift)
            torch.sum(self.product, 1, keepdim=True, out=self.grad_scale)
            shape, mask = self.norm.normalized_shape, [True, False, False]
            moments = self.mean, self.inverse
            grad = torch.ops.aten.native_layer_norm_backward(
                self.scaled, self.linear.out, shape, *moments, None, None, mask
            )[0]
        elif self.draws:
            kernels.drop(grad.numpy(), *self.dropout, self.grad.numpy())
            grad = self.grad
        return self.linear.backward(torch.ops.aten.threshold_backward(grad, self.linear.out, 0))
