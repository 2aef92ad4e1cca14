"""What a running model's head pools is what a head of headsweep trains on."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from headsweep.backbone.base import Assignment
from headsweep.backbone.recorded import RecordedBackbone
from headsweep.config import FeaturesConfig, SplitConfig
from headsweep.errors import UserError
from headsweep.events.base import splits_of
from headsweep.events.frozen_folder import NUMBERS, read_metadata
from headsweep.features.cache import FeatureSet
from headsweep.features.extract import build
from headsweep.hepattn.head_weights import from_hepattn
from headsweep.hepattn.writer import FrozenWriter
from helpers import toy_hepattn
from helpers.replay import record_golden
from helpers.toy_hepattn import (
    FIELDS,
    SPLITS,
    RegressionTask,
    ToyMaskFormer,
    record,
    source,
    started,
)
from helpers.upstream import NEEDS_UPSTREAM, SWIGLU, group, population, run


def own_head(model: ToyMaskFormer) -> tuple[RegressionTask, dict[int, tuple[Tensor, Tensor]]]:
    """The head of a model, and its pooled vectors and outputs of each event."""
    head = next(task for task in model.eval().tasks if isinstance(task, RegressionTask))
    known = {}
    with torch.no_grad():
        for number, (_, count) in enumerate(SPLITS.items()):
            for inputs, targets in toy_hepattn.batches(number, count):
                regressed = model(inputs)["final"][head.name]["track_regr"]
                for row, event in enumerate(targets["sample_id"].tolist()):
                    known[event + number * NUMBERS] = head.pooled[row], regressed[row]
    return head, known


def cache(folder: Path) -> FeatureSet:
    """The features of a training."""
    features = FeaturesConfig(name="document")
    backbone = RecordedBackbone(str(folder))
    return build(source(folder), backbone, SplitConfig(), features, folder.with_name("root"))


def compare(
    found: FeatureSet, state: dict[str, Tensor], sizes: tuple[int, ...], known: Callable[[int], Any]
) -> int:
    """Compare what is pooled from a training's features with what the model's own head pooled.

    Args:
        found: The features.
        state: Weights of the own head.
        sizes: Its hit features, D, hidden width and layers.
        known: Pooled vectors [N, A] and outputs [N, 4] of an event.

    Returns:
        The number of tracks.
    """
    members = population(SWIGLU, *sizes)
    members.load([from_hepattn(state)])
    tracks = 0
    for name in found.meta.n_tracks:
        features = found.load(name)
        own = {}
        for key in ("raw", "encoded", "query"):
            scale = found.meta.scales[key]
            values = getattr(features, key) * np.array(scale.std) + np.array(scale.mean)
            own[key] = values.astype(np.float32)
        pooled, outputs = run(members, type(features)(**{**vars(features), **own}))
        for row, event in enumerate(features.event):
            wanted, regressed = known(int(event))
            # The query tells which of the event's it is.
            query = int((wanted[:, : sizes[1]] - pooled[row, : sizes[1]]).abs().sum(-1).argmin())
            torch.testing.assert_close(pooled[row], wanted[query], rtol=1e-4, atol=1e-4)
            torch.testing.assert_close(outputs[row], regressed[query], rtol=1e-3, atol=1e-3)
            tracks += 1
    return tracks


FORMS: dict[str, dict[str, Any]] = {
    "fork": {},
    "fork without the task": {"head": False},
    "main": {"main": True},
    "main without the task": {"main": True, "head": False},
    "main, sorted": {"main": True, "sort_field": "phi"},
    "main, sorted, without the task": {"main": True, "sort_field": "phi", "head": False},
}


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_a_training_pools_what_the_models_own_head_pooled(tmp_path: Path, form: str) -> None:
    """In both forms of the code, from padded batches, whatever the loss reorders."""
    arguments = FORMS[form]
    head, known = own_head(ToyMaskFormer(**{**arguments, "head": True}))
    fields = {} if arguments.get("head", True) else {"fields": FIELDS}
    record(ToyMaskFormer(**arguments), tmp_path / "f", **fields)
    found = cache(tmp_path / "f")
    sizes = (len(FIELDS), toy_hepattn.DIM, toy_hepattn.HEAD["hidden"], toy_hepattn.HEAD["layers"])
    tracks = compare(found, head.state_dict(), sizes, known.__getitem__)
    counts = read_metadata(tmp_path / "f")["counts"]
    assert tracks == sum(count["tracks"] - count["unmatched"] for count in counts.values())
    assert tracks > 40


def test_queries_hits_and_p_are_bit_equal(tmp_path: Path) -> None:
    model = ToyMaskFormer(main=True, sort_field="phi").eval()
    record(model, tmp_path / "f")
    events = source(tmp_path / "f").load(tmp_path)
    found = RecordedBackbone(str(tmp_path / "f")).assigned(events, 0.1)
    place = {int(number): i for i, number in enumerate(events.ids)}
    tracks = 0
    with torch.no_grad():
        for inputs, targets in toy_hepattn.batches(0, SPLITS["train"]):
            x: dict[str, Any] = {}
            hook = model.tasks[0].register_forward_pre_hook(lambda _, args, x=x: x.update(args[0]))
            logit = model(inputs)["final"]["track_hit_valid"]["track_hit_logit"]
            hook.remove()
            for row, event in enumerate(targets["sample_id"].tolist()):
                order = inputs["hit_phi"][row].argsort()
                raw = torch.stack([inputs[f"hit_{name}"][row] for name in FIELDS], -1)[order]
                for track in np.flatnonzero(found.event == place[event]):
                    tracks += check_track(found, int(track), events.hits, x, row, logit, raw)
    assert tracks > 20


def check_track(
    found: Assignment,
    track: int,
    hits: np.ndarray,
    x: dict[str, Any],
    row: int,
    logit: Tensor,
    raw: Tensor,
) -> int:
    """One track against the tensors that the task got."""
    [query] = np.flatnonzero((x["query_embed"][row].numpy() == found.query[track]).all(-1))
    p = torch.sigmoid(logit)[row, query]
    chosen = (p >= 0.1) & x["hit_valid"][row]
    own = slice(found.offsets[track], found.offsets[track + 1])
    np.testing.assert_array_equal(found.p[own], p[chosen])
    np.testing.assert_array_equal(found.encoded[own], x["hit_embed"][row][chosen])
    np.testing.assert_array_equal(hits[found.hit[own]], raw[chosen])
    return 1


@pytest.mark.parametrize("sort_field", [None, "phi"])
def test_true_hits_are_those_of_the_data(tmp_path: Path, sort_field: str | None) -> None:
    record(ToyMaskFormer(main=True, sort_field=sort_field), tmp_path / "f", lowest_p=0.7)
    events = source(tmp_path / "f").load(tmp_path)
    place = {int(number): i for i, number in enumerate(events.ids)}
    for number, (_, count) in enumerate(SPLITS.items()):
        for inputs, targets in toy_hepattn.batches(number, count):
            raw = torch.stack([inputs[f"hit_{name}"] for name in FIELDS], -1).numpy()
            for row, event in enumerate(targets["sample_id"].tolist()):
                i = place[event + number * NUMBERS]
                own = slice(events.hit_offsets[i], events.hit_offsets[i + 1])
                for track, mask in enumerate(targets["particle_hit_valid"][row].numpy()):
                    hits = events.hits[own][events.hit_track[own] == track]
                    assert {tuple(h) for h in hits} == {tuple(h) for h in raw[row][mask]}


def test_a_model_in_training_mode_is_refused(tmp_path: Path) -> None:
    model = ToyMaskFormer()
    _, inputs, _ = started(model, tmp_path / "f")
    model.layers[1].dropout.train()  # type: ignore[union-attr,operator]
    with pytest.raises(UserError, match=r"training mode: call model\.eval\(\)"):
        model(inputs)


def test_what_it_cannot_hook_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="give fields"):
        started(ToyMaskFormer(head=False), tmp_path / "g")
    with pytest.raises(UserError, match=r"none\.ckpt: cannot be read"):
        FrozenWriter(ToyMaskFormer(), str(tmp_path / "g"), str(tmp_path / "none.ckpt"), "x")


def test_a_writer_that_is_closed_leaves_the_model_alone(tmp_path: Path) -> None:
    model = ToyMaskFormer()
    record(model, tmp_path / "f")
    model.train()(next(toy_hepattn.batches(0, 1))[0])


@pytest.mark.slow
def test_the_writer_needs_neither_hydra_nor_mlflow() -> None:
    code = (
        "import sys; sys.modules['lightning'] = None; import headsweep.hepattn.writer; "
        "print(*sys.modules)"
    )
    command = [sys.executable, "-c", code]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert not {"hydra", "omegaconf", "mlflow", "optuna", "pandas", "h5py"} & set(loaded)


@NEEDS_UPSTREAM
def test_pooled_features_are_those_of_the_real_task(tmp_path: Path) -> None:
    """Of every matched track: pooled here from the folder as there in the running model."""
    tensors = record_golden(tmp_path / "frozen")
    found = cache(tmp_path / "frozen")
    assert found.meta.dim == 32
    assert found.meta.feature_names[0] == "globEdgeHighX"
    compared = compare(
        found,
        group(tensors, "head/"),
        (23, 32, 144, 3),
        lambda event: (tensors["task/pooled"][event], tensors["task/track_regr"][event]),
    )
    truth = int(tensors["targets/particle_valid"].sum())
    assert 0.5 * truth < compared <= truth


@NEEDS_UPSTREAM
def test_all_true_hits_are_kept(tmp_path: Path) -> None:
    tensors = record_golden(tmp_path / "frozen", lowest_p=0.3)
    events = source(tmp_path / "frozen").load(tmp_path)
    valid = tensors["targets/particle_valid"]
    assert len(events.tracks) == int(valid.sum())
    true = tensors["targets/particle_hit_valid"] & valid[..., None]
    assert (events.hit_track >= 0).sum() == int(true.sum())
    for i, name in enumerate(("eta", "phi", "pt", "q")):
        want = tensors[f"targets/particle_truthMuon_{name}"][valid]
        np.testing.assert_allclose(events.tracks[:, i], want.numpy(), rtol=1e-6)


@NEEDS_UPSTREAM
def test_events_that_trained_the_model_train_and_others_judge(tmp_path: Path) -> None:
    record_golden(tmp_path / "frozen")
    events = source(tmp_path / "frozen").load(tmp_path)
    parts = splits_of(events, SplitConfig())
    assert parts["train"].tolist() == list(range(30))
    assert set(parts["val"]) | set(parts["dev"]) == set(range(30, 50))
    assert parts["test"].tolist() == list(range(50, len(events)))
    assert not set(parts["val"]) & set(parts["dev"])
