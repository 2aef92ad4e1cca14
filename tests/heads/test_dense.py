"""hepattn's ``Dense`` as a head: its size, and K at once against each alone."""

import pytest
import torch
from torch.func import functional_call

from headsweep.heads.base import StackedHead
from headsweep.heads.dense import DenseHead


@pytest.mark.parametrize(
    ("activation", "parameters"),
    [
        # Of the real class with 160 inputs and 4 outputs.
        ("swiglu", 104_324),
        ("silu", 160 * 320 + 320 + 320 * 4 + 4),
    ],
)
def test_parameters_of_the_head_that_hepattn_had_before(activation: str, parameters: int) -> None:
    head = DenseHead(160, 4, activation)
    assert sum(p.numel() for p in head.parameters()) == parameters


@pytest.mark.parametrize("activation", ["silu", "swiglu"])
def test_stacked_equals_each_alone(activation: str) -> None:
    heads = [DenseHead(6, 2, activation) for _ in range(3)]
    x = torch.randn(3, 4, 6)
    names = [name for name, _ in heads[0].named_parameters()]
    own = [dict(head.named_parameters()) for head in heads]
    params = {name: torch.stack([named[name].detach() for named in own]) for name in names}
    assert isinstance(heads[0], StackedHead)
    found = heads[0].stacked(params, x, lambda values, _: values)
    alone = torch.stack(
        [
            functional_call(heads[0], {name: v[k] for name, v in params.items()}, (x[k],))
            for k in range(3)
        ]
    )
    torch.testing.assert_close(found, alone)
