"""Operations of a prediction, counted by hand."""

import pytest
from torch import nn

from headsweep.config import PoolingConfig
from headsweep.heads.mlp import MLPHead
from headsweep.training.members import build_member
from headsweep.training.size import track_flops


def head(in_dim: int, out_dim: int) -> nn.Module:
    return MLPHead(in_dim, out_dim, 144, 3, 0.1, layer_norm=True)


def test_the_head_runs_once_and_the_projections_for_each_hit() -> None:
    member = build_member(PoolingConfig(), 23, 32, 4, head)
    layers = 288 * 144 + 144 * 144 + 144 * 4
    assert track_flops(member, 0) == 2 * layers
    assert track_flops(member, 20.5) == pytest.approx(2 * (layers + 20.5 * (23 * 32 + 32 * 32)))


def test_what_is_switched_off_costs_nothing() -> None:
    member = build_member(PoolingConfig(raw=False, width="half"), 23, 32, 4, nn.Linear)
    pooled = 32 + 4 * 16
    assert track_flops(member, 10) == 2 * (pooled * 4 + 10 * 32 * 16)
