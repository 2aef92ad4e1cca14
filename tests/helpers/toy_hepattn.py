"""A model of plain torch in which things happen in the order in which they happen in hepattn.

Written from the facts about it: an encoder, decoder layers that rewrite queries and hits, tasks
that are called before each layer and once more at the end. In the form of the fork the outputs of
tasks are put into ``x`` but for the last call; in that of main a task has those of the same round
instead, and hits may be sorted, while ``x["inputs"]`` and the targets are not.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from headsweep.events.frozen import FrozenFeatures
from headsweep.hepattn.pooled_head import PooledHead
from headsweep.hepattn.writer import FrozenWriter

FIELDS = ["r", "s", "theta", "phi", "eta"]
DIM, QUERIES, LAYERS = 8, 3, 2
HEAD = {"layers": 2, "hidden": 12, "layer_norm": True}


class MaskTask(nn.Module):
    """Which hits belong to which query."""

    name, outputs = "track_hit_valid", ("track_hit_logit",)

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(DIM, DIM)

    def forward(self, x: dict[str, Any], outputs: Any = None) -> dict[str, Tensor]:
        return {"track_hit_logit": self.net(x["query_embed"]) @ x["hit_embed"].mT}


class RegressionTask(PooledHead):
    """The head; its pooled vectors [B, N, A] of the last call stay."""

    name, outputs = "parameter_regression", ("track_regr",)
    hit_fields = FIELDS

    def __init__(self, main: bool, sort_field: str | None) -> None:
        super().__init__(
            len(FIELDS),
            DIM,
            DIM,
            4,
            "swiglu",
            ["avg", "sum", "max", "min"],
            True,
            True,
            True,
            0.1,
            HEAD,
        )
        self.main, self.sort_field, self.calls = main, sort_field, 0
        self.regression_head.register_forward_pre_hook(self._keep)

    def _keep(self, _: nn.Module, args: tuple[Tensor]) -> None:
        self.pooled, self.calls = args[0].clone(), self.calls + 1

    def forward(self, x: dict[str, Any], outputs: Any = None) -> dict[str, Tensor]:  # type: ignore[override]
        inputs, logit = (x["inputs"], outputs[MaskTask.name]) if self.main else (x, x)
        hits = torch.stack([inputs[f"hit_{name}"] for name in FIELDS], -1)
        if self.sort_field:
            order = inputs[f"hit_{self.sort_field}"].argsort(-1)
            hits = torch.stack([row[places] for row, places in zip(hits, order, strict=True)])
        arguments = (x["query_embed"], hits, x["hit_embed"], logit["track_hit_logit"])
        return {"track_regr": super().forward(*arguments, x["hit_valid"])}


class Layer(nn.Module):
    """Queries look at hits, and hits at queries."""

    def __init__(self) -> None:
        super().__init__()
        self.to_query, self.to_hit = (nn.Linear(DIM, DIM) for _ in range(2))
        self.dropout = nn.Dropout(0.5)

    def forward(self, query: Tensor, hit: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        weight = (query @ hit.mT).masked_fill(~valid[:, None], -torch.inf).softmax(-1)
        query = query + self.dropout(self.to_query(weight @ hit))
        return query, hit + self.dropout(self.to_hit((hit @ query.mT).softmax(-1) @ query))


class Sorter:
    """As the model of main has one."""

    def __init__(self, field: str) -> None:
        self.input_sort_field = field


class ToyMaskFormer(nn.Module):
    """See the module; ``head`` whether the regression task is among its tasks."""

    def __init__(
        self, main: bool = False, sort_field: str | None = None, head: bool = True
    ) -> None:
        super().__init__()
        torch.manual_seed(7)
        self.main, self.sorter = main, Sorter(sort_field) if sort_field else None
        self.encoder = nn.Sequential(nn.Linear(len(FIELDS), 16), nn.Tanh(), nn.Linear(16, DIM))
        self.query = nn.Parameter(torch.randn(QUERIES, DIM))
        self.layers = nn.ModuleList([Layer() for _ in range(LAYERS)])
        tasks = [MaskTask(), RegressionTask(main, sort_field)]
        self.tasks = nn.ModuleList(tasks if head else tasks[:1])

    def forward(self, inputs: dict[str, Tensor]) -> dict[str, Any]:
        x: dict[str, Any] = {"hit_valid": inputs["hit_valid"]}
        hits = torch.stack([inputs[f"hit_{name}"] for name in FIELDS], -1)
        x["hit_embed"] = self.encoder(hits)
        if self.main:
            x["inputs"] = inputs
        else:
            x |= {f"hit_{name}": inputs[f"hit_{name}"] for name in FIELDS}
        if self.sorter:
            order = inputs[f"hit_{self.sorter.input_sort_field}"].argsort(-1)
            for name in ("hit_valid", "hit_embed"):
                x[name] = torch.stack([v[o] for v, o in zip(x[name], order, strict=True)])
        x["query_embed"] = self.query.expand(len(hits), -1, -1)
        outputs: dict[str, Any] = {}
        for number, layer in enumerate(self.layers):
            outputs[f"layer_{number}"] = self.round(x, update=not self.main)
            x["query_embed"], x["hit_embed"] = layer(
                x["query_embed"], x["hit_embed"], x["hit_valid"]
            )
        outputs["final"] = self.round(x, update=False)
        return outputs

    def round(self, x: dict[str, Any], update: bool) -> dict[str, dict[str, Tensor]]:
        """All tasks once."""
        done: dict[str, dict[str, Tensor]] = {}
        for task in self.tasks:
            done[task.name] = task(x, outputs=done) if self.main else task(x)
            if update:
                x.update(done[task.name])
        return done

    def loss(self, outputs: dict[str, Any], targets: dict[str, Tensor], inputs: Any) -> Tensor:
        """Sorts the targets, and queries in place, as the loss of hepattn does."""
        for tasks in outputs.values():
            logit = tasks[MaskTask.name]["track_hit_logit"]
            logit.copy_(logit.flip(1))
        if self.sorter:
            order = inputs[f"hit_{self.sorter.input_sort_field}"].argsort(-1)
            masks = targets["particle_hit_valid"]
            targets["particle_hit_valid"] = masks.take_along_dim(order[:, None], 2)
        return logit.mean()


def batches(
    seed: int, count: int, size: int = 3
) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Inputs and targets of padded batches, as hepattn's loader gives them."""
    rng = torch.Generator().manual_seed(seed)
    for batch in range(count):
        n = torch.randint(8, 20, (size,), generator=rng)
        valid = torch.arange(int(n.max())) < n[:, None]
        inputs = {"hit_valid": valid}
        for name in FIELDS:
            inputs[f"hit_{name}"] = torch.randn(valid.shape, generator=rng) * valid
        owner = torch.randint(-1, 2, valid.shape, generator=rng)
        particles = torch.tensor([[True, batch % 2 == 0]]).expand(size, 2)
        masks = (owner[:, None] == torch.arange(2)[:, None]) & valid[:, None] & particles[..., None]
        values = {
            "eta": torch.randn(size, 2, generator=rng),
            "phi": torch.randn(size, 2, generator=rng),
            "pt": torch.rand(size, 2, generator=rng) * 50 + 5,
            "q": torch.randint(0, 2, (size, 2), generator=rng) * 2.0 - 1,
        }
        targets: dict[str, Any] = {
            f"particle_truthMuon_{name}": v.masked_fill(~particles, torch.nan)
            for name, v in values.items()
        }
        targets |= {"particle_valid": particles, "particle_hit_valid": masks}
        targets["sample_id"] = torch.arange(size) + batch * size
        yield inputs, targets


def save_checkpoint(path: Path) -> Path:
    """A file that stands for the weights."""
    torch.save({"state_dict": {}}, path)
    return path


SPLITS = {"train": 8, "val": 8}
"""Batches of each split of the toy model's events."""


def record(model: Any, folder: Path, **options: Any) -> None:
    """Pass all events once; the loss spoils what it can."""
    model.eval()
    checkpoint = save_checkpoint(folder.with_name("toy.ckpt"))
    writer = FrozenWriter(model, str(folder), str(checkpoint), "4d1f84b", **options)
    with torch.no_grad():
        for number, (split, count) in enumerate(SPLITS.items()):
            for inputs, targets in batches(number, count):
                loaded = dict(targets)
                model.loss(model(inputs), targets, inputs)
                writer.write(split, loaded)
    writer.close()


def started(model: Any, folder: Path, **options: Any) -> tuple[FrozenWriter, Any, Any]:
    """A writer, and a batch."""
    checkpoint = save_checkpoint(folder.with_name("toy.ckpt"))
    writer = FrozenWriter(model.eval(), str(folder), str(checkpoint), "x", **options)
    inputs, targets = next(batches(0, 1))
    return writer, inputs, targets


def source(folder: Path) -> FrozenFeatures:
    return FrozenFeatures(str(folder), "rz", [5.0, 200.0], 1, {}, None)
