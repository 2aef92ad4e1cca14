"""Members and populations from a stored configuration."""

from dataclasses import asdict
from typing import Any

import pytest
import torch
from torch import nn

from headsweep.config import MLPHeadConfig, PoolingConfig
from headsweep.errors import UserError
from headsweep.heads.mlp import MLPHead
from headsweep.instantiate import allow
from headsweep.training.builder import member_builder, population_builder
from headsweep.training.members import purpose_seed


def config(pooling: PoolingConfig | None = None, **head: Any) -> dict[str, Any]:
    """A resolved configuration with the default head, or with the keys of another."""
    return {
        "pooling": asdict(pooling or PoolingConfig()),
        "head": head or asdict(MLPHeadConfig()),
    }


class Wrong(nn.Linear):
    """A head that forgets the number of outputs."""

    def __init__(self, in_dim: int, out_dim: int) -> None:
        super().__init__(in_dim, out_dim + 1)


class Failing(nn.Module):
    """A head that cannot be built."""

    def __init__(self, in_dim: int, out_dim: int) -> None:
        super().__init__()
        raise ValueError("no room for 3 heads")


def test_a_member_has_the_sizes_of_data_and_configuration() -> None:
    member = member_builder(config(PoolingConfig(width="half")), inputs=5, dim=6, outputs=4)()
    assert isinstance(member.raw, nn.Linear)
    assert isinstance(member.encoded, nn.Linear)
    assert (member.raw.in_features, member.raw.out_features) == (5, 3)
    assert (member.encoded.in_features, member.encoded.out_features) == (6, 3)
    assert isinstance(member.head, MLPHead)
    first, last = member.head[0], member.head[-1]
    assert isinstance(first, nn.Linear)
    assert isinstance(last, nn.Linear)
    assert (first.in_features, last.out_features) == (6 + 8 * 3, 4)
    assert member.head.training


def test_a_population_holds_the_weights_of_its_seeds() -> None:
    build = member_builder(config(), 5, 6, 4)
    population = population_builder(config(), 5, 6, 4)([3, 8])
    assert population.seeds == [3, 8]
    for place, seed in enumerate([3, 8]):
        torch.manual_seed(purpose_seed(seed, "init"))
        alone = build()
        for name, value in alone.named_parameters():
            assert torch.equal(population.member_weights(place)[name], value)


@pytest.mark.parametrize(
    ("name", "said"), [("Failing", "no room for 3 heads"), ("Wrong", r"gives \[2, 5\]")]
)
def test_a_head_that_does_not_work_is_refused_with_its_name(name: str, said: str) -> None:
    allow(__name__)
    build = member_builder(config(_target_=f"{__name__}.{name}"), 5, 6, 4)
    with pytest.raises(UserError, match=f"head: .*{name}.*{said}"):
        build()
