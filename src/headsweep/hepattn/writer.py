"""Writer of frozen features from a running hepattn model; see docs/how-to/hepattn.md."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors.numpy import save_file
from torch import Tensor, nn

from headsweep.backbone.base import match
from headsweep.events.frozen import FORMAT, METADATA, part_digest
from headsweep.files import write_atomic


class FrozenWriter:
    """Writes what the regression task reads.

    Args:
        folder: A new folder.
        task: The regression task; the last call in each forward pass counts.
        model: Whatever tells which model it is: checkpoint, its sha256, commit, precision.
        lowest_p: Hits below are left out; the lowest threshold that a head can have.
    """

    def __init__(
        self, folder: Path, task: nn.Module, model: Mapping[str, Any], lowest_p: float = 0.01
    ) -> None:
        folder.mkdir(parents=True)
        self.folder, self.lowest_p = folder, lowest_p
        self.fields: list[str] = list(task.hit_fields)  # type: ignore[arg-type]
        self.parts: dict[str, str] = {}
        self.model = dict(model)
        self.seen: Mapping[str, Tensor] = {}
        task.register_forward_pre_hook(self._keep, with_kwargs=True)

    def _keep(self, _: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        self.seen = dict(args[0] if args else kwargs["x"])

    def write(self, split: str, events: Sequence[int], targets: Mapping[str, Tensor]) -> None:
        """Write the batch that has just passed; call it before ``model.loss`` orders queries anew.

        Args:
            split: Folder that the events are from: train, val or test.
            events: Event numbers, different in all batches [B].
            targets: hepattn's ``particle_valid`` [B, N], ``particle_hit_valid`` [B, N, M] and
                ``particle_truthMuon_eta``, ``_phi``, ``_pt`` (GeV), ``_q`` [B, N].
        """
        x = {k: v.detach().cpu() for k, v in self.seen.items() if isinstance(v, Tensor)}
        valid = x["hit_valid"].numpy()
        raw = torch.stack([x[f"hit_{name}"] for name in self.fields], -1).float().numpy()
        encoded, query = (x[k].float().numpy() for k in ("hit_embed", "query_embed"))
        p = torch.sigmoid(x["track_hit_logit"].float()).numpy()
        truth = {k: v.detach().cpu().numpy() for k, v in targets.items()}
        parts: dict[str, list[Any]] = {k: [] for k in ("raw", "encoded", "p", "correct", "query")}
        rows: list[dict[str, Any]] = []
        for b, event in enumerate(events):
            masks = truth["particle_hit_valid"][b] & valid[b]
            own = np.flatnonzero(truth["particle_valid"][b])
            for k, q in zip(own, match(p[b][:, valid[b]], masks[own][:, valid[b]]), strict=True):
                kept = valid[b] & ((p[b, q] >= self.lowest_p) | masks[k]) if q >= 0 else masks[k]
                for name, values in (
                    ("raw", raw[b]),
                    ("encoded", encoded[b]),
                    ("correct", masks[k]),
                ):
                    parts[name].append(values[kept])
                parts["p"].append(p[b, q][kept] if q >= 0 else np.zeros(kept.sum(), np.float32))
                parts["query"].append(query[b, q] if q >= 0 else np.zeros_like(query[b, 0]))
                track = {
                    n: truth[f"particle_truthMuon_{n}"][b, k] for n in ("eta", "phi", "pt", "q")
                }
                rows.append({"event": int(event), "split": split, "found": bool(q >= 0), **track})
        if not rows:
            return
        name = f"part-{len(self.parts)}"
        arrays = {k: np.concatenate(v) for k, v in parts.items() if k != "query"}
        arrays["query"] = np.stack(parts["query"])
        arrays["offsets"] = np.cumsum([0, *map(len, parts["p"])])
        save_file(arrays, self.folder / f"{name}.safetensors")
        pq.write_table(pa.Table.from_pylist(rows), self.folder / f"{name}.parquet")
        self.parts[name] = part_digest(self.folder, name)
        about = {"format": FORMAT, "features": self.fields, "dim": query.shape[-1]}
        about |= {"lowest_p": self.lowest_p, "model": self.model, "parts": self.parts}
        write_atomic(self.folder / METADATA, json.dumps(about, indent=1).encode())
