"""Weights under hepattn's names against numbers that the real task gave."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from headsweep.config import PoolingConfig
from headsweep.errors import UserError
from headsweep.features.cache import ColumnScale, Features
from headsweep.hepattn.head_weights import fold, from_hepattn, to_hepattn
from headsweep.training.pooling import build_projection
from helpers.dense import D, F, ragged
from helpers.upstream import NEEDS_UPSTREAM, SWIGLU, features_of, golden, group, population, run

CASES = ("n1_hidden144", "n2_hidden144", "n2_hidden96", "n3_hidden144", "n4_hidden144")


def inputs_of(tensors: dict[str, Tensor], threshold: float) -> Features:
    own = group(tensors, "inputs/")
    return features_of(
        own["hit_fields"],
        own["hit_embed"],
        own["query_embed"],
        own["track_hit_logit"],
        own["hit_valid"],
        threshold,
    )


@NEEDS_UPSTREAM
@pytest.mark.parametrize("threshold", [0.1, 0.5])
@pytest.mark.parametrize("name", CASES)
def test_weights_of_the_real_task_give_its_numbers(name: str, threshold: float) -> None:
    about, tensors = golden("golden_head")
    case: dict[str, Any] = next(c for c in about["cases"] if c["name"] == name)
    members = population(SWIGLU, 23, 32, case["hidden_dim_used"], case["regression_num_layers"])
    own = from_hepattn(group(tensors, f"{name}/state/"))
    assert sum(value.numel() for value in own.values()) == case["parameters"]
    assert own.keys() == members.member_weights(0).keys()  # loads strictly
    members.load([own])
    features = inputs_of(tensors, threshold)
    counted = np.diff(features.offsets).reshape(3, 2).tolist()
    assert counted == about["selected_hits"][str(threshold)]
    pooled, outputs = run(members, features)
    want = group(tensors, f"{name}/threshold{threshold}/")
    torch.testing.assert_close(pooled, want["pooled"].flatten(0, 1), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(outputs, want["track_regr"].flatten(0, 1), rtol=1e-5, atol=1e-5)


@NEEDS_UPSTREAM
@pytest.mark.parametrize("activation", ["silu", "swiglu"])
def test_one_projection_of_either_activation(activation: str) -> None:
    tensors = group(golden("golden_head")[1], f"dense_{activation}/")
    projection = build_projection(PoolingConfig(projection="mlp", activation=activation), 23, 32)
    state = group(tensors, "state/")
    projection.load_state_dict(group(state, "net."))
    with torch.no_grad():
        found = projection(tensors["input"])
    torch.testing.assert_close(found, tensors["output"], rtol=1e-5, atol=1e-5)


@NEEDS_UPSTREAM
def test_a_real_model_on_real_events() -> None:
    """Hits, queries and logits of a trained model give what its own task gave."""
    about, tensors = golden("frozen_events")
    seen = group(tensors, "seen/")
    features = features_of(
        seen["hit_fields"],
        seen["hit_embed"],
        seen["query_embed"],
        seen["track_hit_logit"],
        seen["hit_valid"],
        about["assignment_threshold"],
    )
    members = population(SWIGLU, 23, 32, 144, 3)
    members.load([from_hepattn(group(tensors, "head/"))])
    pooled, outputs = run(members, features)
    want = group(tensors, "task/")
    # Sums over 20 hits of up to thousands: 1e-5 of the largest entry of a column.
    scale = want["pooled"].flatten(0, 1).abs().amax(0).clamp_min(1)
    assert ((pooled - want["pooled"].flatten(0, 1)).abs() / scale).max() < 1e-5
    torch.testing.assert_close(outputs, want["track_regr"].flatten(0, 1), rtol=1e-4, atol=1e-4)


def test_the_names_there_and_back() -> None:
    weights = population(SWIGLU, F, D, 8, 3).member_weights(0)
    there = to_hepattn(weights)
    assert "raw_hit_net.net.0.weight" in there
    assert "regression_head.8.bias" in there
    assert from_hepattn(there).keys() == weights.keys()
    with pytest.raises(UserError, match="raw_net"):
        from_hepattn({"raw_net.0.weight": torch.zeros(1)})


@pytest.mark.parametrize("layers", [1, 2, 4])
@pytest.mark.parametrize(
    "pooling", [SWIGLU, PoolingConfig(projection="mlp"), PoolingConfig()], ids=str
)
def test_folded_weights_take_raw_inputs(pooling: PoolingConfig, layers: int) -> None:
    """Standardise, run, scale back: the same as the folded weights on the inputs as they are."""
    rng = np.random.default_rng(1)
    split = ragged([3, 0, 1, 7, 20])
    decades = 10.0 ** np.linspace(-3, 3, F)
    raw = (rng.normal(size=(31, F)) * decades + 5 * decades).astype(np.float32)
    raw[:, 2] = 7.0  # a constant column
    scales = {
        "raw": ColumnScale.of(raw),
        "encoded": ColumnScale.of(3 * split.encoded + 1),
        "query": ColumnScale.of(2 * split.query - 4),
    }
    plain = {"raw": raw, "encoded": 3 * split.encoded + 1, "query": 2 * split.query - 4}
    standard = {name: scales[name].apply(values) for name, values in plain.items()}
    target = ColumnScale([0.1, -2.0, 40.0, 0.0], [1.5, 1.8, 60.0, 1.0])
    members = population(pooling, F, D, 8, layers)
    _, outputs = run(members, Features(**{**vars(split), **standard}))
    want = outputs * torch.tensor(target.std) + torch.tensor(target.mean)
    members.load([fold(members.member_weights(0), **scales, target=target)])
    _, found = run(members, Features(**{**vars(split), **plain}))
    torch.testing.assert_close(found, want, rtol=1e-4, atol=1e-3)
