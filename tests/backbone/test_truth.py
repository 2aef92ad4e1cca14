"""The backbone of truth: purity, efficiency and seeds."""

import numpy as np
import pytest

from headsweep.backbone.base import EVENTS_PER_BATCH, assign, join, truth_masks
from headsweep.backbone.training import assignment_quality
from headsweep.backbone.truth import TruthBackbone
from headsweep.errors import UserError
from helpers.toy_events import toy_events


def test_perfect_truth_is_the_truth_and_its_vectors_are_zero() -> None:
    events = toy_events(EVENTS_PER_BATCH + 5, most_tracks=3)
    batches = list(TruthBackbone(1.0, 1.0, 0, dim=6).run(events))
    assert [b.events for b in batches] == [
        slice(0, EVENTS_PER_BATCH),
        slice(EVENTS_PER_BATCH, EVENTS_PER_BATCH + 5),
    ]
    for batch in batches:
        assert batch.query.shape[1:] == (3, 6)
        assert not batch.query.any()
        assert not batch.encoded.any()
        for row, event in enumerate(range(batch.events.start, batch.events.stop)):
            mask = truth_masks(events, event)
            want = np.zeros(batch.p[row].shape)
            want[: len(mask), : mask.shape[1]] = mask
            np.testing.assert_array_equal(batch.p[row], want)
            np.testing.assert_array_equal(batch.valid[row], np.arange(3) < len(mask))
    assert assignment_quality(TruthBackbone(1.0, 1.0, 0, 6), events, 0.1) == (1.0, 1.0)


@pytest.mark.parametrize(("purity", "efficiency"), [(0.9, 1.0), (1.0, 0.7), (0.8, 0.6)])
def test_purity_and_efficiency_are_what_was_asked(purity: float, efficiency: float) -> None:
    events = toy_events(1500, noise=30)
    measured = assignment_quality(TruthBackbone(purity, efficiency, 0, 2), events, 0.1)
    # About 20,000 hits: four standard deviations of a binomial share.
    assert measured == pytest.approx((purity, efficiency), abs=4 * 0.5 / 20_000**0.5)


def test_added_hits_are_noise_and_never_another_track() -> None:
    events = toy_events(200)
    backbone = TruthBackbone(0.5, 1.0, 0, 2)
    found = join([assign(events, batch, 0.1) for batch in backbone.run(events)])
    assert (events.hit_track[found.hit[~found.correct]] == -1).all()
    assert len(found.hit[~found.correct]) > 1000


def test_an_event_gives_the_same_hits_wherever_it_stands() -> None:
    events = toy_events(40, noise=30)
    backbone = TruthBackbone(0.8, 0.8, 0, 2)
    order = np.random.default_rng(1).permutation(40)
    (straight,), (shuffled,) = list(backbone.run(events)), list(backbone.run(events.take(order)))
    for position, event in enumerate(order):
        n_hits = events.hit_offsets[event + 1] - events.hit_offsets[event]
        np.testing.assert_array_equal(
            straight.p[event, :, :n_hits], shuffled.p[position, :, :n_hits]
        )


def test_the_seed_matters_and_everything_is_in_the_key() -> None:
    events = toy_events(40)
    (a,), (b,) = (list(TruthBackbone(0.8, 0.8, seed, 2).run(events)) for seed in (0, 1))
    assert (a.p != b.p).any()
    settings = [(1, 1, 0, 32), (0.9, 1, 0, 32), (1, 0.9, 0, 32), (1, 0.9, 1, 32), (1, 1, 0, 16)]
    keys = {TruthBackbone(*values).key() for values in settings}
    assert len(keys) == 5
    assert all(len(key) == 16 for key in keys)
    assert TruthBackbone(1, 1, 0, 32).key() in keys
    assert TruthBackbone(1, 1, 1, 32).key() in keys, "its seed decides nothing where none is spoilt"


def test_impure_hits_need_noise() -> None:
    events = toy_events(5, noise=0)
    assert list(TruthBackbone(1.0, 0.9, 0, 2).run(events))
    with pytest.raises(UserError, match=r"backbone\.purity=0\.9"):
        list(TruthBackbone(0.9, 1.0, 0, 2).run(events))
