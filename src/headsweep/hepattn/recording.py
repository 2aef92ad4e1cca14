"""From the tensors of a running model to a folder of frozen features; ``writer.py`` hooks them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from headsweep.backbone.matching import match
from headsweep.errors import UserError
from headsweep.events.base import file_hash
from headsweep.events.frozen_folder import FolderWriter, RecordedTrack, event_number

VALID, MASKS = "particle_valid", "particle_hit_valid"
TRUTH = {name: f"particle_truthMuon_{name}" for name in ("eta", "phi", "pt", "q")}
"""Targets of hepattn that a folder needs."""


class Recording:
    """Takes passes of a model, and writes each with its targets.

    Args:
        folder: A new folder, or one that the same model wrote before, which goes on.
        checkpoint: File of the weights; its name and SHA-256 are written.
        commit: Commit of hepattn.
        fields: Hit features in their order.
        lowest_p: Hits of a lower p are left out, but for true ones; no head can have a lower
            threshold.

    Raises:
        UserError: The checkpoint cannot be read.
    """

    def __init__(
        self,
        folder: str | Path,
        checkpoint: str | Path,
        commit: str,
        fields: Sequence[str],
        lowest_p: float = 0.01,
    ) -> None:
        digest = file_hash(Path(checkpoint))
        self._model = {"checkpoint": Path(checkpoint).name, "sha256": digest, "commit": commit}
        self.fields, self._lowest_p, self._path = list(fields), lowest_p, Path(folder)
        self._folder: FolderWriter | None = None
        self._facts: Mapping[str, str] = {}
        self._seen: dict[str, NDArray[Any]] = {}
        self._count = 0

    def take(
        self, hits: Mapping[str, Tensor], *, logits: str, order: Tensor, valid: Tensor, **of: Tensor
    ) -> None:
        """Copy what the head reads in a pass: the loss of the model may reorder it in place.

        Args:
            hits: ``hit_valid`` [B, M] and the fields of the hits, in the order of the data.
            logits: Output of the model that p is from.
            order: Place in the data of each encoded hit [B, M].
            valid: False for padding, in the order of the encoded hits [B, M].
            of: ``encoded`` [B, M, D], ``query`` [B, N, D] and ``p`` [B, N, M].

        Raises:
            UserError: A field is missing, or the order is another one.
        """
        if missing := {f"hit_{name}" for name in self.fields} - hits.keys():
            raise UserError(f"{', '.join(sorted(missing))}: the inputs of the model lack it")
        if not torch.equal(hits["hit_valid"].take_along_dim(order, 1), valid):
            raise UserError("hit_valid: hits of the data and encoded hits differ in their order")
        raw = torch.stack([hits[f"hit_{name}"] for name in self.fields], dim=-1)
        of["raw"] = raw.take_along_dim(order[..., None], 1)
        self._seen = {k: _array(v) for k, v in {**of, "order": order, "valid": valid}.items()}
        kind, dtype = raw.device.type, of["encoded"].dtype
        if torch.is_autocast_enabled(kind):
            dtype = torch.get_autocast_dtype(kind)
        precision = f"{dtype}, matmul {torch.get_float32_matmul_precision()}"
        self._facts = {"logits": logits, "precision": precision.removeprefix("torch.")}

    def write(
        self, split: str, targets: Mapping[str, Any], events: Sequence[int] | None = None
    ) -> None:
        """Write the batch that has just passed.

        Args:
            split: Folder that the events are from: train, val or test.
            targets: As hepattn's data loader gives them: ``particle_valid`` [B, N],
                ``particle_hit_valid`` [B, N, M] and those of ``TRUTH`` [B, N], pT in GeV.
            events: Event numbers, different in all batches and splits [B]; None for ``sample_id``
                of the targets, or else for 0, 1, .. in each split.

        Raises:
            UserError: Targets are missing or in another order, or the folder cannot be used.
        """
        if missing := {VALID, MASKS, *TRUTH.values()} - targets.keys():
            raise UserError(
                f"{', '.join(sorted(missing))}: the targets lack it; see data.targets of the model"
            )
        seen, self._seen = self._seen, {}
        if not seen:
            raise UserError("no pass of the model since the last batch was written")
        folder, valid = self._open(seen), seen["valid"]
        folder.begin(split)
        true, masks = (_array(targets[name]).astype(bool) for name in (VALID, MASKS))
        masks = np.take_along_axis(masks, seen["order"][:, None], axis=2)
        if (masks & true[..., None] & ~valid[:, None]).any():
            raise UserError(
                f"{MASKS} has hits where there is padding: write before the loss, which sorts it"
            )
        truth = {name: _array(targets[key]) for name, key in TRUTH.items()}
        first, self._count = self._count, self._count + len(valid)
        for b in range(len(valid)):
            number = (
                events[b]
                if events is not None
                else targets.get("sample_id", range(first, self._count))[b]
            )
            event = int(number) if events is not None else event_number(split, int(number))
            own = np.flatnonzero(true[b])
            if len(own) and event not in folder:
                values = [{name: float(truth[name][b, k]) for name in TRUTH} for k in own]
                found = {name: seen[name][b] for name in ("raw", "encoded", "query", "p")}
                tracks = self._tracks(found, valid[b], masks[b, own], values)
                folder.add(event, split, tracks, valid.shape)

    def close(self) -> None:
        """Write what is left, and mark the splits as complete."""
        if self._folder is not None:
            self._folder.close()

    def _tracks(
        self,
        seen: Mapping[str, NDArray[Any]],
        valid: NDArray[np.bool_],
        masks: NDArray[np.bool_],
        truth: Sequence[Mapping[str, float]],
    ) -> list[RecordedTrack]:
        """The true tracks of an event with true hits ``masks`` [T, M], and their queries."""
        tracks = []
        for mask, values, q in zip(
            masks, truth, match(seen["p"][:, valid], masks[:, valid]), strict=True
        ):
            found = bool(q >= 0)
            p = seen["p"][q] if found else np.zeros(len(valid), np.float32)
            kept = valid & ((p >= self._lowest_p) | mask)
            tracks.append(
                RecordedTrack(
                    truth=values,
                    found=found,
                    query=seen["query"][q] if found else np.zeros_like(seen["query"][0]),
                    raw=seen["raw"][kept],
                    encoded=seen["encoded"][kept],
                    p=p[kept],
                    correct=mask[kept],
                )
            )
        return tracks

    def _open(self, seen: Mapping[str, NDArray[Any]]) -> FolderWriter:
        """The folder, which has the facts of the first batch; all others must have the same."""
        about = {
            "features": self.fields,
            "dim": seen["query"].shape[-1],
            "lowest_p": self._lowest_p,
            "model": {**self._model, **self._facts},
        }
        if self._folder is None:
            self._folder = FolderWriter(self._path, about)
        self._folder.check(about)
        return self._folder


def _array(tensor: Tensor) -> NDArray[Any]:
    """A copy; float32 for floats of any kind."""
    tensor = tensor.detach().cpu()
    return (tensor.float() if tensor.is_floating_point() else tensor).numpy().copy()
