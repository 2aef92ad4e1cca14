"""Pooling against a dense padded formulation written from the document's formulas."""

from dataclasses import replace
from itertools import pairwise

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings

from headsweep.config import PoolingConfig
from headsweep.features import cache as features_cache
from headsweep.heads.mlp import MLPHead
from headsweep.training import pooling
from headsweep.training.members import Member, Population, build_member
from headsweep.training.pooling import Hits, aggregated_dim, pool, to_hits
from helpers.dense import D, F, dense, ragged


def stack(config: PoolingConfig, K: int, dtype: torch.dtype) -> Population:
    def build() -> Member:
        return build_member(config, F, D, 3, lambda a, o: MLPHead(a, o, 8, 2, 0.0, True))

    return Population(build, config, range(K), dtype=dtype)


CONFIGS = {
    "document": PoolingConfig(),
    "half": PoolingConfig(width="half"),
    "raw_only": PoolingConfig(encoded=False, query=False, statistics=["max", "avg"]),
    "sum_only": PoolingConfig(statistics=["sum"]),
    "mlp": PoolingConfig(projection="mlp"),
    "swiglu": PoolingConfig(projection="mlp", activation="swiglu"),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_values_and_gradients_equal_the_dense_formulation(
    config: PoolingConfig, dtype: torch.dtype
) -> None:
    tolerance = 1e-5 if dtype == torch.float32 else 1e-12
    split = ragged([3, 0, 1, 7, 0, 20, 2])
    hits = to_hits(split, dtype=dtype)
    population = stack(config, 3, dtype)
    rows = torch.arange(7).expand(3, -1).contiguous()
    got = pool(config, population.named(population.weights), hits, rows)
    assert got.shape == (3, 7, aggregated_dim(config, D))
    probe = torch.randn(got.shape, generator=torch.Generator().manual_seed(1), dtype=dtype)
    (got * probe).sum().backward()
    grads = population.named(population.weights.grad)
    for k in range(3):
        own = population.member_weights(k)
        own = {name: value.requires_grad_() for name, value in own.items()}
        want = dense(config, own, split, dtype)
        torch.testing.assert_close(got[k], want, rtol=tolerance, atol=tolerance)
        (want * probe[k]).sum().backward()
        for name, value in own.items():
            if not name.startswith("head."):
                grad = grads[name][k]
                torch.testing.assert_close(grad, value.grad, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_in_company_as_alone_bit_for_bit(config: PoolingConfig) -> None:
    """At the sizes of a training: small products round alike in any shape."""
    rng = np.random.default_rng(0)
    hits = to_hits(ragged([int(n) for n in rng.poisson(20, 1000)], inputs=23, dim=32))
    rows = torch.from_numpy(rng.integers(0, 1000, (3, 256)))

    def member() -> Member:
        return build_member(config, 23, 32, 1, lambda a, o: torch.nn.Linear(a, o))

    def pooled(seeds: list[int], rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        population = Population(member, config, seeds)
        values = pool(config, population.named(population.weights), hits, rows)
        (grads,) = torch.autograd.grad(values.sin().sum(), population.weights)
        return values, grads

    together = pooled([5, 3, 8], rows)
    for k, seed in enumerate([5, 3, 8]):
        for all_of_them, alone in zip(together, pooled([seed], rows[k : k + 1]), strict=True):
            assert torch.equal(all_of_them[k], alone[0])


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 12), min_size=1, max_size=12), st.integers(0, 2**16))
def test_any_ragged_shape(lengths: list[int], seed: int) -> None:
    config = PoolingConfig()
    split = ragged(lengths, seed)
    population = stack(config, 2, torch.float64)
    rows = torch.randint(len(lengths), (2, 5), generator=torch.Generator().manual_seed(seed))
    got = pool(
        config, population.named(population.weights), to_hits(split, dtype=torch.float64), rows
    )
    assert torch.isfinite(got).all()
    for k in range(2):
        own = population.member_weights(k)
        want = dense(config, own, split, torch.float64)[rows[k]]
        torch.testing.assert_close(got[k], want, rtol=1e-10, atol=1e-10)


def test_a_track_without_hits_gets_zeros() -> None:
    hits = to_hits(ragged([0, 0]))
    population = stack(PoolingConfig(), 1, torch.float32)
    pooled = pool(
        PoolingConfig(), population.named(population.weights), hits, torch.tensor([[0, 1]])
    )
    assert torch.equal(pooled[0, :, :D], hits.query)
    assert (pooled[0, :, D:] == 0).all()


def test_compiled_and_padded_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    """The packed way is what other devices and MLP projections take."""

    config, hits = PoolingConfig(), to_hits(ragged([4, 0, 9, 1]), dtype=torch.float64)
    population = stack(config, 2, torch.float64)
    rows = torch.tensor([[0, 1, 2, 3], [3, 2, 2, 0]])
    compiled = pool(config, population.named(population.weights), hits, rows)
    monkeypatch.setattr(pooling, "_pool_compiled", pooling._pool_packed)
    torch.testing.assert_close(
        pool(config, population.named(population.weights), hits, rows), compiled
    )


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_a_split_without_any_hit(config: PoolingConfig) -> None:
    population = stack(config, 2, torch.float32)
    rows = torch.tensor([[0, 1], [1, 0]])
    pooled = pool(config, population.named(population.weights), to_hits(ragged([0, 0])), rows)
    assert pooled.shape == (2, 2, aggregated_dim(config, D))
    assert (pooled[:, :, config.query * D :] == 0).all()


def test_a_nan_weight_is_seen() -> None:
    hits = to_hits(ragged([3]))
    population = stack(PoolingConfig(), 1, torch.float32)
    population.weights.detach().fill_(torch.nan)
    assert (
        pool(PoolingConfig(), population.named(population.weights), hits, torch.tensor([[0]]))
        .isnan()
        .any()
    )


@pytest.mark.parametrize(
    ("width", "expected"), [("full", 288), ("half", 160)], ids=["full", "half"]
)
def test_aggregated_dim_of_the_document(width: str, expected: int) -> None:
    assert aggregated_dim(PoolingConfig(width=width), 32) == expected


def test_sums_are_taken_once() -> None:
    split = ragged([2, 0, 3])
    hits: Hits = to_hits(split)
    for t, (a, b) in enumerate([(0, 2), (2, 2), (2, 5)]):
        np.testing.assert_allclose(
            hits.raw_sum[t], (split.p[a:b, None] * split.raw[a:b]).sum(0), rtol=1e-6
        )
        np.testing.assert_allclose(hits.weight[t], split.p[a:b].sum(), rtol=1e-6)


def test_hits_stay_where_they_are_and_are_summed_in_any_pieces(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    split = ragged([3, 0, 5, 1, 0, 2, 4])
    whole = to_hits(split)
    assert np.shares_memory(whole.raw.numpy(), split.raw)
    assert np.shares_memory(whole.encoded.numpy(), split.encoded)
    monkeypatch.setattr(features_cache, "ROWS", 2)
    pieces = to_hits(split)
    for name in ("weight", "raw_sum", "encoded_sum"):
        assert torch.equal(getattr(whole, name), getattr(pieces, name))
    p = split.p.astype(np.float64)
    sums = [(p[a:b, None] * split.raw[a:b]).sum(0) for a, b in pairwise(split.offsets)]
    np.testing.assert_allclose(whole.raw_sum, np.array(sums), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(whole.weight, [p[a:b].sum() for a, b in pairwise(split.offsets)])


def test_the_analytic_estimate_follows_what_is_pooled() -> None:
    hits = replace(to_hits(ragged([3, 0, 2])), estimate=torch.arange(9.0).view(3, 3))
    rows = torch.tensor([[2, 0], [1, 1]])
    plain, more = (PoolingConfig(analytic=analytic) for analytic in (False, True))
    params = stack(plain, 2, torch.float32)
    named = params.named(params.weights)
    got, want = (pool(config, named, hits, rows) for config in (more, plain))
    assert got.shape == (2, 2, aggregated_dim(more, D, 3))
    assert torch.equal(got[..., :-3], want)
    assert got[..., -3:].tolist() == [[[6, 7, 8], [0, 1, 2]], [[3, 4, 5], [3, 4, 5]]]
