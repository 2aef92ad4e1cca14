"""Training of the transformer: it learns, repeats bit for bit, and writes its facts."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from headsweep.backbone import transformer
from headsweep.backbone.base import refuse_seen
from headsweep.backbone.training import assignment_quality, fit_backbone, train_checkpoint
from headsweep.backbone.transformer import load
from headsweep.config import SplitConfig
from headsweep.errors import UserError
from headsweep.events import base
from headsweep.events.base import Events, split_events, track_hashes
from headsweep.events.spool import Spool
from helpers.toy_events import FEATURES, ToySource, toy_events


def coloured_events(n: int, seed: int) -> Events:
    """Toy events in which column t tells hits of tracks from noise."""
    events = toy_events(n, seed, most_tracks=1, noise=10)
    events.hits[:, FEATURES.index("t")] += np.where(events.hit_track < 0, 4, -4)
    return events


@pytest.mark.slow
def test_it_learns_to_tell_hits_from_noise() -> None:
    torch.set_num_threads(1)
    reports = []
    model = fit_backbone(
        coloured_events(200, seed=1),
        steps=60,
        seed=0,
        queries=1,
        progress=lambda text, share: reports.append((text, share)),
    )
    purity, efficiency = assignment_quality(model, coloured_events(100, seed=2), 0.1)
    assert purity > 0.95
    assert efficiency > 0.95
    assert [share for _, share in reports] == pytest.approx(np.arange(1, 61) / 60)
    first, last = (float(reports[i][0].split()[-1]) for i in (0, -1))
    assert last < 0.3 * first


@pytest.mark.parametrize("steps", [1, 2, 20])
def test_few_steps_are_enough_to_run(steps: int) -> None:
    assert fit_backbone(toy_events(3), steps=steps, seed=0, queries=2).key()


def test_the_same_seed_gives_the_same_weights_and_another_does_not() -> None:
    events = toy_events(40)
    state = torch.random.get_rng_state()
    keys = [fit_backbone(events, steps=2, seed=s, queries=2).key() for s in (0, 0, 1)]
    assert keys[0] == keys[1] != keys[2]
    assert torch.equal(state, torch.random.get_rng_state())


def test_mapped_events_give_the_same_weights_and_quality(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = toy_events(60)
    model = fit_backbone(events, steps=2, seed=0, queries=2)
    quality = assignment_quality(model, events, 0.1)
    monkeypatch.setattr(base, "BLOCK_HITS", 60)
    monkeypatch.setattr(base, "BLOCK_STEP", 4)
    monkeypatch.setattr(transformer, "BLOCK_HITS", 7)
    spool = Spool(tmp_path)
    spool.add(events)
    mapped = spool.events()
    assert fit_backbone(mapped, steps=2, seed=0, queries=2).key() == model.key()
    assert assignment_quality(model, mapped, 0.1) == pytest.approx(quality, rel=1e-6)


def test_train_checkpoint_measures_on_validation_and_writes_facts(tmp_path: Path) -> None:
    source, split = ToySource(toy_events(60, most_tracks=3)), SplitConfig(val=0.3, dev=0.1)
    path = tmp_path / "deep" / "a.safetensors"
    model = train_checkpoint(
        source.events,
        source.key(),
        split,
        path,
        steps=3,
        seed=0,
        threshold=0.2,
        command="headsweep backbone",
    )
    loaded = load(str(path))
    assert loaded.key() == model.key()
    assert loaded.shape.queries == 3
    parts = split_events(60, val=0.3, dev=0.1, test=0, seed=0)
    train = source.events.take(parts["train"])
    np.testing.assert_array_equal(loaded.seen, track_hashes(train.tracks))
    # A filter that takes hits away does not hide an event that it knows.
    filtered = replace(train, hits=train.hits * np.float32(0.5))
    with pytest.raises(UserError, match="36 of 36 events of dev"):
        refuse_seen(loaded, {"dev": filtered})
    refuse_seen(loaded, {name: source.events.take(rows) for name, rows in parts.items()})
    val = source.events.take(parts["val"])
    purity, efficiency = assignment_quality(model, val, 0.2)
    assert loaded.facts == {
        "command": "headsweep backbone",
        "data_key": source.key(),
        "split": {"val": 0.3, "dev": 0.1, "test": 0.0, "seed": 0, "folds": None, "fold": 0},
        "training_events": 36,
        "validation_events": 18,
        "threshold": 0.2,
        "purity": round(purity, 4),
        "efficiency": round(efficiency, 4),
    }


def test_a_training_that_diverges_writes_no_checkpoint(tmp_path: Path) -> None:
    events = toy_events(60)
    events.hits[:, FEATURES.index("t")] = 1e30
    path = tmp_path / "a.safetensors"
    with pytest.raises(UserError, match="backbone: its output is not finite at step 1; look"):
        train_checkpoint(
            events, "key", SplitConfig(), path, steps=2, seed=0, threshold=0.1, command=""
        )
    assert not path.exists()
