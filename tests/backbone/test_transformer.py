"""The transformer: padding, masks, checkpoints, and the shipped one."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from headsweep.backbone import drift_tubes
from headsweep.backbone.base import refuse_seen
from headsweep.backbone.training import assignment_quality
from headsweep.backbone.transformer import (
    SHIPPED,
    Architecture,
    HitTransformer,
    chunks_by_length,
    load,
    save,
)
from headsweep.config import SpectrometerConfig
from headsweep.errors import UserError
from headsweep.events.base import Events, event_hashes
from headsweep.events.spectrometer import Spectrometer
from helpers.toy_events import FEATURES, toy_events


@pytest.fixture(scope="module")
def model() -> HitTransformer:
    torch.manual_seed(0)
    model = HitTransformer(Architecture(FEATURES, queries=3, dim=8, hidden=12, heads=2))
    model.set_scale(model.prepare(toy_events(50)))
    return model.freeze()


def drop_hits(events: Events, event: int) -> Events:
    """The same events, one of them without hits."""
    offsets = events.hit_offsets
    keep = np.ones(len(events.hits), bool)
    keep[offsets[event] : offsets[event + 1]] = False
    lengths = np.diff(offsets)
    lengths[event] = 0
    return replace(
        events,
        hits=events.hits[keep],
        hit_track=events.hit_track[keep],
        hit_offsets=np.concatenate([[0], np.cumsum(lengths)]),
    )


def test_numbers_of_features_and_queries_follow_the_architecture(model: HitTransformer) -> None:
    (batch,) = model.run(toy_events(10))
    assert batch.query.shape == (10, 3, 8)
    assert batch.p.shape == (10, 3, batch.encoded.shape[1])
    assert batch.valid.shape == (10, 3)
    assert {a.dtype for a in (batch.query, batch.encoded, batch.p, batch.valid)} == {
        np.dtype(np.float32)
    }


def test_padding_and_company_do_not_change_an_event(model: HitTransformer) -> None:
    events = drop_hits(toy_events(12, seed=5), event=4)
    (together,) = model.run(events)
    for event in range(12):
        n_hits = events.hit_offsets[event + 1] - events.hit_offsets[event]
        (alone,) = model.run(events.take(np.array([event])))
        for a, b in (
            (alone.query[0], together.query[event]),
            (alone.valid[0], together.valid[event]),
            (alone.p[0, :, :n_hits], together.p[event, :, :n_hits]),
            (alone.encoded[0, :n_hits], together.encoded[event, :n_hits]),
        ):
            np.testing.assert_allclose(a, b, atol=2e-6)
        assert not together.p[event, :, n_hits:].any()
        assert np.isfinite(together.query[event]).all()


def test_the_order_of_the_hits_only_orders_the_output(model: HitTransformer) -> None:
    events = toy_events(1, seed=2)
    order = np.random.default_rng(0).permutation(len(events.hits))
    shuffled = replace(events, hits=events.hits[order], hit_track=events.hit_track[order])
    (a,), (b,) = model.run(events), model.run(shuffled)
    np.testing.assert_allclose(a.p[0][:, order], b.p[0], atol=2e-6)
    np.testing.assert_allclose(a.query, b.query, atol=2e-6)


def test_inputs_are_standardised_with_z_and_eta() -> None:
    events = toy_events(100)
    model = HitTransformer(Architecture(FEATURES, queries=1))
    inputs = model.prepare(events)
    np.testing.assert_array_equal(inputs[:, :-2], events.hits)
    np.testing.assert_allclose(inputs[:, -2], events.column("z"), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(inputs[:, -1], events.column("eta"), rtol=1e-4, atol=1e-4)
    model.set_scale(inputs)
    scaled = (inputs - model.mean.numpy()) / model.std.numpy()
    np.testing.assert_allclose(scaled.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(scaled.std(0), 1, atol=1e-4)


def test_a_constant_feature_is_harmless() -> None:
    events = toy_events(5)
    events.hits[:, FEATURES.index("t")] = 0.1
    model = HitTransformer(Architecture(FEATURES, queries=2))
    model.set_scale(model.prepare(events))
    (batch,) = model.freeze().run(events)
    assert np.isfinite(batch.p).all()
    assert (model.std > 0).all()


def test_drift_tubes_bring_their_tangent_support() -> None:
    names = (*drift_tubes.COLUMNS, "r", "theta", "phi")
    events = toy_events(5)
    hits = np.abs(np.random.default_rng(0).normal(size=(len(events.hits), len(names)))) + 0.1
    events = replace(events, hits=hits.astype(np.float32), features=names)
    model = HitTransformer(Architecture(names, queries=2))
    assert model.shape.tubes
    inputs = model.prepare(events)
    assert inputs.shape[1] == model.shape.inputs == len(names) + drift_tubes.N_VALUES + 2
    np.testing.assert_array_equal(inputs[:, len(names) : -2], drift_tubes.tangent_support(events))


def test_queries_look_only_at_the_hits_they_claimed(model: HitTransformer) -> None:
    """A hit that no query claims can be changed without moving the decoder's next query."""
    generator = torch.Generator().manual_seed(0)
    encoded = torch.randn(1, 30, 8, generator=generator)
    mask = torch.rand(1, 3, 30, generator=generator) < 0.3
    layer, query = model.decoder[0], model.queries[None]
    before = layer.to_hits(query, encoded, mask[:, None])
    encoded[~mask.any(1)] = 1e3
    np.testing.assert_array_equal(before, layer.to_hits(query, encoded, mask[:, None]))


def test_a_checkpoint_comes_back_whole(model: HitTransformer, tmp_path: Path) -> None:
    facts = {"purity": 0.5, "command": "headsweep backbone"}
    saved = HitTransformer(model.shape, facts)
    saved.load_state_dict(model.state_dict())
    save(saved, tmp_path / "a.safetensors")
    loaded = load(str(tmp_path / "a.safetensors"))
    assert loaded.shape == model.shape
    assert loaded.facts == facts
    assert loaded.key() == model.key()
    assert loaded.dim == 8
    assert not loaded.training
    assert not any(p.requires_grad for p in loaded.parameters())
    (a,), (b,) = model.run(toy_events(3)), loaded.run(toy_events(3))
    np.testing.assert_array_equal(a.p, b.p)


def test_every_weight_and_the_scale_are_in_the_key(model: HitTransformer) -> None:
    keys = {model.key()}
    for name in model.state_dict():
        other = HitTransformer(model.shape)
        other.load_state_dict(model.state_dict())
        other.state_dict()[name].view(-1)[0] += 0.5
        keys.add(other.key())
    assert len(keys) == 1 + len(model.state_dict())


def test_unsuitable_checkpoints_are_refused(model: HitTransformer, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no such file; train one with `headsweep backbone`"):
        load(str(tmp_path / "nothing"))
    (tmp_path / "text").write_text("not tensors")
    save_file({"a": torch.zeros(1)}, tmp_path / "foreign")
    save_file({"a": torch.zeros(1)}, tmp_path / "no_json", {"headsweep": "{"})
    save(model, tmp_path / "short")
    content = (tmp_path / "short").read_bytes()
    (tmp_path / "short").write_bytes(content[:-4])
    (tmp_path / "future").write_bytes(content.replace(rb"\"format\": 2", rb"\"format\": 9"))
    for name in ("text", "foreign", "no_json", "short"):
        with pytest.raises(UserError, match="not a checkpoint of headsweep"):
            load(str(tmp_path / name))
    with pytest.raises(UserError, match="format 9"):
        load(str(tmp_path / "future"))


def test_other_features_are_refused_by_name(model: HitTransformer) -> None:
    events = toy_events(2)
    with pytest.raises(UserError, match=r"trained on .*theta.* the data have .*width.*headsweep"):
        list(model.run(replace(events, features=("width", *FEATURES[1:]))))
    with pytest.raises(UserError, match=r"no theta; add them to data\.source\.derived"):
        HitTransformer(Architecture(("r", "phi"), queries=1))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 50), max_size=40), st.integers(1, 200))
def test_chunks_hold_each_event_once_within_the_budget(lengths: list[int], budget: int) -> None:
    chunks = list(chunks_by_length(np.array(lengths, dtype=np.int64), budget))
    assert sorted(i for chunk in chunks for i in chunk) == list(range(len(lengths)))
    for chunk in chunks:
        assert len(chunk) == 1 or len(chunk) * max(lengths[i] for i in chunk) <= budget


def test_the_shipped_checkpoint_keeps_its_promises(tmp_path: Path) -> None:
    model = load("shipped")
    assert SHIPPED.stat().st_size < 1_000_000
    assert len(model.shape.features) == 23
    assert model.facts["threshold"] == 0.1
    assert model.facts["purity"] >= 0.96
    assert model.facts["efficiency"] >= 0.96
    assert model.facts["command"].startswith("headsweep backbone")
    # Events that neither the training nor the default data have seen, hence a looser bound.
    purity, efficiency = assignment_quality(model, Spectrometer(300, 1002).load(tmp_path), 0.1)
    assert purity > 0.95
    assert efficiency > 0.95


@pytest.mark.slow
def test_the_shipped_checkpoint_says_which_events_it_saw(tmp_path: Path) -> None:
    """Simulated again here: most of the events of a smaller sample of its seed are among them."""
    model = load("shipped")
    assert len(np.unique(model.seen)) == model.facts["training_events"] == 9600
    own, default = (Spectrometer(*which).load(tmp_path) for which in ((2500, 1001), (50, 1)))
    assert np.isin(event_hashes(own), model.seen).mean() == pytest.approx(0.6, abs=0.03)
    refuse_seen(model, {"train": own, "dev": default})
    with pytest.raises(UserError, match=r"trained on 1,\d\d\d of 2,500 events of dev"):
        refuse_seen(model, {"train": default, "dev": own})


def test_the_shipped_checkpoint_never_saw_the_default_data(tmp_path: Path) -> None:
    events, seed = 16_000, 1001
    assert load("shipped").facts["data_key"] == Spectrometer(events, seed).key()
    default = SpectrometerConfig()
    # Event numbers run on from one that follows from the seed.
    first, other = (Spectrometer(20, s).load(tmp_path).ids[0] for s in (seed, default.seed))
    assert abs(int(first) - int(other)) > max(events, default.events)
