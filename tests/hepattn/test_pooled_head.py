"""The head in plain torch against numbers that the real task gave."""

from typing import Any

import pytest
import torch

from headsweep.hepattn.pooled_head import PooledHead
from helpers.upstream import NEEDS_UPSTREAM, golden, group

STATISTICS = ["avg", "sum", "max", "min"]


def build(layers: int, hidden: int, threshold: float) -> PooledHead:
    head: dict[str, object] = {"layers": layers, "hidden": hidden, "layer_norm": True}
    return PooledHead(23, 32, 32, 4, "swiglu", STATISTICS, True, True, True, threshold, head).eval()


@NEEDS_UPSTREAM
@pytest.mark.parametrize("threshold", [0.1, 0.5])
@pytest.mark.parametrize("layers", [1, 2, 3, 4])
def test_state_and_outputs_of_the_real_task(layers: int, threshold: float) -> None:
    """The state is loaded strictly, under the names that the real task has."""
    tensors = golden("golden_head")[1]
    name = f"n{layers}_hidden144"
    head = build(layers, 144, threshold)
    head.load_state_dict(group(tensors, f"{name}/state/"))
    own: dict[str, Any] = group(tensors, "inputs/")
    with torch.no_grad():
        found = head(
            own["query_embed"],
            own["hit_fields"],
            own["hit_embed"],
            own["track_hit_logit"],
            own["hit_valid"],
        )
    want = tensors[f"{name}/threshold{threshold}/track_regr"]
    torch.testing.assert_close(found, want, rtol=1e-5, atol=1e-5)


def test_padding_may_hold_anything_and_no_hit_gives_zeros() -> None:
    head = build(2, 8, 0.1)
    query, hits, codes = torch.randn(2, 3, 32), torch.randn(2, 5, 23), torch.randn(2, 5, 32)
    logit, valid = torch.randn(2, 3, 5), torch.ones(2, 5, dtype=torch.bool)
    valid[0, 3:] = False
    valid[1] = False
    with torch.no_grad():
        clean = head(query, hits, codes, logit, valid)
        hits[~valid], codes[~valid] = torch.nan, torch.inf
        found = head(query, hits, codes, logit, valid)
        bare = head.regression_head(torch.cat([query[1], torch.zeros(3, 256)], dim=1))
    assert torch.equal(found, clean)
    torch.testing.assert_close(found[1], bare)
