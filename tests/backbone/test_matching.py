"""The matching against all permutations."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headsweep.backbone.matching import mask_cost, match


def loop_cost(p: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """The two terms written as sums over hits."""
    cost = np.zeros((len(truth), len(p)))
    for t, mask in enumerate(truth):
        for n, q in enumerate(np.clip(p.astype(float), 1e-6, 1 - 1e-6)):
            entropy = -np.mean(
                [np.log(a) if b else np.log(1 - a) for a, b in zip(q, mask, strict=True)]
            )
            dice = 1 - (2 * q[mask].sum() + 1) / (q.sum() + mask.sum() + 1)
            cost[t, n] = entropy + dice
    return cost


def random_case(seed: int, tracks: int, queries: int, hits: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    p = rng.choice([0, 0.01, 0.3, 0.6, 0.99, 1], (queries, hits)).astype(np.float32)
    return p, rng.integers(-1, tracks, hits) == np.arange(tracks)[:, None]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 999), st.integers(1, 4), st.integers(1, 4), st.integers(0, 12))
def test_match_is_the_best_of_all_permutations(
    seed: int, tracks: int, queries: int, hits: int
) -> None:
    p, truth = random_case(seed, tracks, queries, hits)
    cost = mask_cost(p, truth)
    if hits:
        np.testing.assert_allclose(cost, loop_cost(p, truth), rtol=1e-5, atol=1e-5)
    small = min(tracks, queries)
    best = min(
        cost[list(t), list(q)].sum()
        for t in permutations(range(tracks), small)
        for q in permutations(range(queries), small)
    )
    found = match(p, truth)
    pairs = [(t, q) for t, q in enumerate(found) if q >= 0]
    assert len({q for _, q in pairs}) == len(pairs)
    for t, q in pairs:
        assert (truth[t] & (p[q] >= 0.5)).any()
    if len(pairs) == small:
        assert sum(cost[t, q] for t, q in pairs) == pytest.approx(best, abs=1e-5)


def test_a_track_without_query_or_shared_hit_is_unmatched() -> None:
    truth = np.array([[1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], dtype=bool)
    p = np.array([[0, 0, 0.9, 0], [0.4, 0.4, 0, 0]], dtype=np.float32)
    np.testing.assert_array_equal(match(p, truth), [-1, 0, -1])
