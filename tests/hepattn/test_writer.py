"""Frozen features from a running model to the head's inputs, on tensors that hepattn produced."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from headsweep.backbone.recorded import RecordedBackbone
from headsweep.config import FeaturesConfig, SplitConfig
from headsweep.events.base import splits_of
from headsweep.events.frozen import FrozenFeatures
from headsweep.features.extract import build
from headsweep.hepattn.head_weights import from_hepattn
from headsweep.hepattn.writer import FrozenWriter
from helpers.upstream import NEEDS_UPSTREAM, SWIGLU, golden, group, population, run

FIELDS = ("eta", "phi", "pt", "q")


class Task(nn.Module):
    """Stands where the regression task does: called once a layer, the last call counts."""

    def __init__(self, hit_fields: list[str]) -> None:
        super().__init__()
        self.hit_fields = hit_fields

    def forward(self, x: dict[str, Tensor]) -> Tensor:
        return x["track_hit_logit"]


def as_seen(tensors: dict[str, Tensor], fields: list[str], rows: slice) -> dict[str, Tensor]:
    """The argument of the task's call, for some events of the golden data."""
    seen = {key: value[rows] for key, value in group(tensors, "seen/").items()}
    hits = seen.pop("hit_fields")
    return seen | {f"hit_{name}": hits[..., i] for i, name in enumerate(fields)}


def write(folder: Path, lowest_p: float = 0.01) -> dict[str, Any]:
    """All golden events in two batches, of which each calls the task three times."""
    about, tensors = golden("frozen_events")
    fields = about["hit_fields"]
    task = Task(fields)
    writer = FrozenWriter(folder, task, {"checkpoint": "lightning.ckpt"}, lowest_p)
    n = len(tensors["event_numbers"])
    # The folder has no split of its own: the first events stand for those of train.
    for split, rows in (("train", slice(0, 30)), ("val", slice(30, n))):
        seen = as_seen(tensors, fields, rows)
        task({**seen, "track_hit_logit": torch.full_like(seen["track_hit_logit"], 9.0)})
        task(x=seen)
        targets = {key: value[rows] for key, value in group(tensors, "targets/").items()}
        writer.write(split, list(range(n))[rows], targets)
    return {"about": about, "tensors": tensors}


def source(folder: Path) -> FrozenFeatures:
    return FrozenFeatures(str(folder), "rz", [5.0, 200.0], 1, {})


@NEEDS_UPSTREAM
def test_pooled_features_are_those_of_the_real_task(tmp_path: Path) -> None:
    """Of every matched track: pooled here from the folder as there in the running model."""
    known = write(tmp_path / "frozen")
    tensors = known["tensors"]
    found = build(
        source(tmp_path / "frozen"),
        RecordedBackbone(str(tmp_path / "frozen")),
        SplitConfig(),
        FeaturesConfig(name="document"),
        tmp_path / "root",
    )
    assert found.meta.dim == 32
    assert found.meta.feature_names[0] == "globEdgeHighX"
    members = population(SWIGLU, 23, 32, 144, 3)
    members.load([from_hepattn(group(tensors, "head/"))])
    compared = 0
    for name in ("train", "val", "dev"):
        features = found.load(name)
        scales = found.meta.scales
        own = {
            key: (getattr(features, key) * np.array(scales[key].std) + np.array(scales[key].mean))
            for key in ("raw", "encoded", "query")
        }
        plain = type(features)(
            **{**vars(features), **{k: v.astype(np.float32) for k, v in own.items()}}
        )
        pooled, outputs = run(members, plain)
        for row, event in enumerate(features.event):
            wanted = tensors["task/pooled"][event]
            # The query tells which of the event's it is.
            query = int((wanted[:, :32] - pooled[row, :32]).abs().sum(-1).argmin())
            size = wanted[query].abs().clamp_min(1)
            assert ((pooled[row] - wanted[query]).abs() / size).max() < 1e-4
            real = tensors["task/track_regr"][event, query]
            assert ((outputs[row] - real).abs() / real.abs().clamp_min(1)).max() < 1e-3
            compared += 1
    truth = int(tensors["targets/particle_valid"].sum())
    assert 0.5 * truth < compared <= truth


@NEEDS_UPSTREAM
def test_the_last_call_and_all_true_hits_are_kept(tmp_path: Path) -> None:
    known = write(tmp_path / "frozen", lowest_p=0.3)
    events = source(tmp_path / "frozen").load(tmp_path)
    valid = known["tensors"]["targets/particle_valid"]
    assert len(events.tracks) == int(valid.sum())
    true = known["tensors"]["targets/particle_hit_valid"] & valid[..., None]
    assert (events.hit_track >= 0).sum() == int(true.sum())
    for i, name in enumerate(FIELDS):
        want = known["tensors"][f"targets/particle_truthMuon_{name}"][valid]
        np.testing.assert_allclose(events.tracks[:, i], want.numpy(), rtol=1e-6)


@NEEDS_UPSTREAM
def test_events_that_trained_the_model_train_and_others_judge(tmp_path: Path) -> None:
    write(tmp_path / "frozen")
    events = source(tmp_path / "frozen").load(tmp_path)
    parts = splits_of(events, SplitConfig())
    assert parts["train"].tolist() == list(range(30))
    assert set(parts["val"]) | set(parts["dev"]) == set(range(30, len(events)))
    assert not set(parts["val"]) & set(parts["dev"])


@NEEDS_UPSTREAM
def test_a_batch_without_tracks_writes_nothing(tmp_path: Path) -> None:
    about, tensors = golden("frozen_events")
    task = Task(about["hit_fields"])
    writer = FrozenWriter(tmp_path / "f", task, {})
    task(x=as_seen(tensors, about["hit_fields"], slice(0, 2)))
    targets = {key: value[:2] for key, value in group(tensors, "targets/").items()}
    nothing = torch.zeros_like(targets["particle_valid"])
    writer.write("val", [1, 2], {**targets, "particle_valid": nothing})
    assert list((tmp_path / "f").iterdir()) == []
