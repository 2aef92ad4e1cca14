"""K heads at once against each head alone."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.func import functional_call

from headsweep.heads.base import Dropout, StackedHead, run_members
from headsweep.heads.mlp import MLPHead


def no_dropout(x: Tensor, probability: float) -> Tensor:
    return x


def stacked(heads: list[nn.Module]) -> dict[str, Tensor]:
    """The parameters of all heads, [K, ...] by name."""
    named = [dict(head.named_parameters()) for head in heads]
    return {name: torch.stack([own[name].detach() for own in named]) for name in named[0]}


def noisy() -> nn.Module:
    """A head without a stacked form, which draws from torch's global generator."""
    return nn.Sequential(nn.Linear(6, 5), nn.Dropout(0.5), nn.Linear(5, 2)).train()


def states(seeds: list[int]) -> list[Tensor]:
    """States of torch's generator for each member."""
    return [torch.Generator().manual_seed(seed).get_state() for seed in seeds]


def test_a_head_without_a_stacked_form_runs_each_member_on_its_own_weights() -> None:
    heads = [nn.Linear(6, 2) for _ in range(3)]
    x = torch.randn(3, 4, 6)
    got = run_members(heads[0], stacked(heads), x, no_dropout, states([0, 1, 2]))
    expected = torch.stack([head(own) for head, own in zip(heads, x, strict=True)])
    torch.testing.assert_close(got, expected)


def test_the_random_numbers_of_a_member_do_not_depend_on_its_neighbours() -> None:
    heads = [noisy() for _ in range(3)]
    params, x = stacked(heads), torch.randn(3, 4, 6)
    before = torch.random.get_rng_state()
    together = run_members(heads[0], params, x, no_dropout, states([5, 6, 7]))
    for k, seed in enumerate([5, 6, 7]):
        own = {name: value[k] for name, value in params.items()}
        with torch.random.fork_rng(devices=[]):
            torch.random.set_rng_state(states([seed])[0])
            alone = functional_call(heads[0], own, (x[k],))
        assert torch.equal(together[k], alone)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_the_stream_of_a_member_goes_on_from_call_to_call() -> None:
    heads = [noisy()]
    params, x, rng = stacked(heads), torch.randn(1, 50, 6), states([3])
    first = run_members(heads[0], params, x, no_dropout, rng)
    second = run_members(heads[0], params, x, no_dropout, rng)
    assert not torch.equal(first, second)
    assert torch.equal(first, run_members(heads[0], params, x, no_dropout, states([3])))


class Doubled(nn.Linear):
    """A head whose stacked form can be told from the ordinary one: it gives twice as much."""

    def stacked(self, params: Mapping[str, Tensor], x: Tensor, dropout: Dropout) -> Tensor:
        """As ``StackedHead``."""
        return 2 * torch.baddbmm(params["bias"].unsqueeze(1), x, params["weight"].mT)


def test_a_stacked_form_is_used_where_there_is_one() -> None:
    heads = [Doubled(6, 2) for _ in range(3)]
    x = torch.randn(3, 4, 6)
    got = run_members(heads[0], stacked(heads), x, no_dropout, states([0, 1, 2]))
    expected = torch.stack([2 * head(own) for head, own in zip(heads, x, strict=True)])
    torch.testing.assert_close(got, expected)


def test_the_shipped_head_has_a_stacked_form() -> None:

    assert isinstance(MLPHead(6, 2, 8, 2, 0.1, layer_norm=True), StackedHead)
    assert not isinstance(nn.Linear(6, 2), StackedHead)
