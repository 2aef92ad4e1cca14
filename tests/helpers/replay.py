"""The golden events of a real hepattn model, recorded as they would be while it runs."""

from pathlib import Path
from typing import Any

from torch import Tensor, nn

from headsweep.hepattn.writer import FrozenWriter
from helpers.upstream import UPSTREAM, golden, group


class Replay(nn.Module):
    """Stands where the model does and gives the tensors that the real one gave.

    Its tasks are called as often as the real ones; the first two calls get others.
    """

    def __init__(self, about: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        super().__init__()
        mask, head = (nn.Module() for _ in range(2))
        mask.name, mask.outputs = "track_hit_valid", ["track_hit_logit"]  # type: ignore[assignment]
        head.name, head.outputs = "parameter_regression", ["track_regr"]  # type: ignore[assignment]
        head.raw_hit_net, head.hit_fields = nn.Identity(), about["hit_fields"]
        head.forward = lambda x: x["query_embed"]  # type: ignore[method-assign]
        self.tasks, self.tensors = nn.ModuleList([mask, head]), tensors

    def forward(self, inputs: dict[str, Tensor]) -> dict[str, Any]:
        rows = inputs["rows"]
        seen = {key: value[rows] for key, value in group(self.tensors, "seen/").items()}
        other = {key: value[rows] for key, value in group(self.tensors, "other/").items()}
        for call in ("0", "1"):
            self.tasks[1]({**inputs, **seen, **group(self.tensors, f"calls/{call}/")})
        self.tasks[1](x={**inputs, **seen})
        logits = {
            "layer_0": other["layer_0_track_hit_logit"],
            "layer_1": seen["track_hit_logit"],
            "final": other["final_track_hit_logit"],
        }
        return {k: {"track_hit_valid": {"track_hit_logit": v}} for k, v in logits.items()}


def split_of(event: int) -> str:
    """The golden folder has no split of its own: the first events stand for those of train."""
    return "train" if event < 30 else "val" if event < 50 else "test"


def record_golden(
    folder: Path, lowest_p: float = 0.01, splits: tuple[str, ...] = ("train", "val", "test")
) -> dict[str, Tensor]:
    """All golden events of some splits, in a batch each, numbered from 0 in their order."""
    about, tensors = golden("frozen_events")
    model = Replay(about, tensors).eval()
    checkpoint = str(UPSTREAM / "lightning.ckpt")
    writer = FrozenWriter(model, str(folder), checkpoint, "2a2de1c", lowest_p=lowest_p)
    hits = tensors["seen/hit_fields"]
    for split in splits:
        rows = [n for n in range(len(hits)) if split_of(n) == split]
        inputs: dict[str, Any] = {
            f"hit_{name}": hits[rows, :, i] for i, name in enumerate(about["hit_fields"])
        }
        model(inputs | {"rows": rows, "hit_valid": tensors["seen/hit_valid"][rows]})
        targets = {key: value[rows] for key, value in group(tensors, "targets/").items()}
        writer.write(split, targets, rows)
    writer.close()
    return tensors
