"""A small hit transformer with mask attention, which assigns hits to tracks.

Its build is that of MaskFormer-like trackers (arXiv:2112.01527, arXiv:2411.07149): an input net
with positional encoding, encoder layers over the hits of an event, and decoder layers in which a
few learned queries look only at the hits that they claimed one layer before.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from headsweep.backbone import drift_tubes
from headsweep.backbone.base import BackboneBatch, event_slices
from headsweep.backbone.checkpoint import TRAIN, Checkpoint, read, write
from headsweep.errors import UserError, reason
from headsweep.events.base import BLOCK_HITS, Events, Floats, ragged_rows

SHIPPED = Path(__file__).with_name("spectrometer.safetensors")
POSITION = ("r", "theta", "phi")
CLAIMED = 0.1
"""A query looks at hits that it gave at least this probability one layer before."""
FREQUENCIES = 6
HITS_PER_PASS = 16384


@dataclass(frozen=True)
class Architecture:
    """Sizes and inputs of the network; stored in the checkpoint.

    Attributes:
        features: Names of the hit features, in order.
        queries: N, the most tracks that an event can have.
        dim: D, the width.
        hidden: Width of the hidden layers of the input and feed-forward nets.
        heads: Attention heads.
        encoder_layers: Layers over hits.
        decoder_layers: Layers over queries.
    """

    features: tuple[str, ...]
    queries: int
    dim: int = 32
    hidden: int = 64
    heads: int = 4
    encoder_layers: int = 2
    decoder_layers: int = 2

    @property
    def tubes(self) -> bool:
        """True if the features describe drift tubes; their tangent support is then an input too."""
        return set(drift_tubes.COLUMNS) <= set(self.features)

    @property
    def inputs(self) -> int:
        """Columns of the input: the features, the tangent support if any, z and eta."""
        return len(self.features) + drift_tubes.N_VALUES * self.tubes + 2


@dataclass(frozen=True)
class Output:
    """Output of the network before the first decoder layer or after any of them.

    Attributes:
        query: Track queries, [E, N, D].
        assignment: Logits that a hit belongs to a query, [E, N, M].
        validity: Logits that a query is a track, [E, N].
    """

    query: Tensor
    assignment: Tensor
    validity: Tensor


class Attention(nn.Module):
    """Multi-head attention of ``x`` [E, A, D] to ``memory`` [E, B, D], where the mask is true."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_query = nn.Linear(dim, dim)
        self.to_key_value = nn.Linear(dim, 2 * dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, x: Tensor, memory: Tensor, mask: Tensor | None) -> Tensor:
        """Attended values [E, A, D]; ``mask`` broadcasts to [E, heads, A, B]."""
        q, k, v = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in (self.to_query(x), *self.to_key_value(memory).chunk(2, dim=-1))
        )
        attended = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        y: Tensor = self.out(attended.transpose(1, 2).flatten(-2))
        return y


def _mlp(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, hidden), nn.SiLU(), nn.Linear(hidden, outputs))


class EncoderLayer(nn.Module):
    """Self-attention among the hits of an event, then a feed-forward net; both pre-norm."""

    def __init__(self, shape: Architecture) -> None:
        super().__init__()
        self.attention = Attention(shape.dim, shape.heads)
        self.feed_forward = _mlp(shape.dim, shape.hidden, shape.dim)
        self.norms = nn.ModuleList(nn.LayerNorm(shape.dim) for _ in range(2))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Hits [E, M, D] to hits [E, M, D]."""
        y = self.norms[0](x)
        x = x + self.attention(y, y, mask)
        return torch.add(x, self.feed_forward(self.norms[1](x)))


class DecoderLayer(nn.Module):
    """Mask attention of queries to hits, attention among queries, feed-forward; all pre-norm."""

    def __init__(self, shape: Architecture) -> None:
        super().__init__()
        self.to_hits = Attention(shape.dim, shape.heads)
        self.to_queries = Attention(shape.dim, shape.heads)
        self.feed_forward = _mlp(shape.dim, shape.hidden, shape.dim)
        self.norms = nn.ModuleList(nn.LayerNorm(shape.dim) for _ in range(3))

    def forward(self, query: Tensor, hits: Tensor, mask: Tensor) -> Tensor:
        """Queries [E, N, D] to queries [E, N, D]."""
        query = query + self.to_hits(self.norms[0](query), hits, mask)
        y = self.norms[1](query)
        query = query + self.to_queries(y, y, None)
        return torch.add(query, self.feed_forward(self.norms[2](query)))


class HitTransformer(nn.Module):
    """Backbone that encodes hits and assigns them to track queries.

    Attributes:
        shape: The architecture.
        facts: Facts about its training that the checkpoint holds.
        seen: Hashes of what it was trained on, see ``base.Backbone``, uint64 [N]; None if unknown.
        dim: D.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        shape: Architecture,
        facts: Mapping[str, Any] | None = None,
        seen: NDArray[np.uint64] | None = None,
    ) -> None:
        """Build it with random weights from torch's global generator.

        Raises:
            UserError: The hit features lack the position that it encodes.
        """
        super().__init__()
        missing = [name for name in POSITION if name not in shape.features]
        if missing:
            raise UserError(
                f"backbone: the hit features have no {', '.join(missing)}; add them to "
                "data.source.derived"
            )
        self.shape = shape
        self.facts = dict(facts or {})
        self.seen = seen
        self.dim = dim = shape.dim
        self.register_buffer("mean", torch.zeros(shape.inputs))
        self.register_buffer("std", torch.ones(shape.inputs))
        self.input_net = _mlp(shape.inputs, shape.hidden, dim)
        self.position_net = nn.Linear(2 * 4 * FREQUENCIES, dim)
        self.encoder = nn.ModuleList(EncoderLayer(shape) for _ in range(shape.encoder_layers))
        self.encoder_norm = nn.LayerNorm(dim)
        self.queries = nn.Parameter(torch.randn(shape.queries, dim))
        self.decoder = nn.ModuleList(DecoderLayer(shape) for _ in range(shape.decoder_layers))
        self.query_norm = nn.LayerNorm(dim)
        self.mask_net = _mlp(dim, shape.hidden, dim)
        self.validity_net = nn.Linear(dim, 1)

    def prepare(self, events: Events) -> NDArray[np.float32]:
        """Inputs of all hits, not standardised, float32 [H, ``shape.inputs``].

        Raises:
            UserError: The events have other hit features than the checkpoint.
        """
        if events.features != self.shape.features:
            raise UserError(
                f"backbone: the checkpoint was trained on the hit features "
                f"{', '.join(self.shape.features)}; the data have {', '.join(events.features)}; "
                "train one on these data with `headsweep backbone`"
            )
        support = [drift_tubes.tangent_support(events)] if self.shape.tubes else []
        r, theta = events.column("r"), np.clip(events.column("theta"), 1e-4, np.pi - 1e-4)
        position = [(r / np.tan(theta))[:, None], -np.log(np.tan(theta / 2))[:, None]]
        return np.concatenate([events.hits, *support, *position], axis=1).astype(np.float32)

    def set_scale(self, inputs: NDArray[np.float32]) -> None:
        """Set the standardisation from the prepared inputs of the training hits."""
        mean = _column_sums(inputs, lambda x: x) / len(inputs)
        std = np.sqrt(_column_sums(inputs, lambda x: (x - mean) ** 2) / len(inputs))
        self.mean.copy_(torch.from_numpy(mean))
        self.std.copy_(torch.from_numpy(np.where(std > 1e-6 * np.abs(mean), std, 1.0)))

    def forward(self, inputs: Tensor, present: Tensor) -> tuple[Tensor, list[Output]]:
        """Encode and assign the hits of E events.

        Args:
            inputs: Prepared inputs, [E, M, I]; anything finite where padded.
            present: True for hits, False for padding, bool [E, M].

        Returns:
            Encoded hits [E, M, D], and the output before the first decoder layer and after each.
        """
        # Attention to nothing is NaN: an event without hits attends to its padding, and a query
        # that claims nothing to all hits.
        attended = (present | ~present.any(-1, keepdim=True))[:, None, :]
        scaled = (inputs - self.mean) / self.std
        encoded = self.input_net(scaled) + self.position_net(self._waves(inputs, scaled))
        for encoder in self.encoder:
            encoded = encoder(encoded, attended[:, None])
        encoded = self.encoder_norm(encoded)
        outputs = [self._read(self.queries.expand(len(inputs), -1, -1), encoded, present)]
        for decoder in self.decoder:
            claimed = outputs[-1].assignment.detach().sigmoid() >= CLAIMED
            mask = torch.where(claimed.any(-1, keepdim=True), claimed, attended)
            query = decoder(outputs[-1].query, encoded, mask[:, None])
            outputs.append(self._read(query, encoded, present))
        return encoded, outputs

    def key(self) -> str:
        """Hash (16 hex) of the architecture, the weights and the standardisation."""
        digest = hashlib.sha256(json.dumps(asdict(self.shape)).encode())
        for name, tensor in sorted(self.state_dict().items()):
            digest.update(f"{name}{tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().numpy().tobytes())
        return digest.hexdigest()[:16]

    def freeze(self) -> "HitTransformer":
        """Stop all gradients and switch to evaluation; returns itself."""
        self.requires_grad_(False)
        return self.eval()

    def run(self, events: Events) -> Iterator[BackboneBatch]:
        """Yield the output for all events once, in order.

        Raises:
            UserError: The events have other hit features than the checkpoint.
        """
        inputs = self.prepare(events)
        for rows in event_slices(len(events)):
            yield self._run_slice(inputs, events.hit_offsets, rows)

    @torch.inference_mode()
    def _run_slice(
        self, inputs: NDArray[np.float32], offsets: NDArray[np.int64], rows: slice
    ) -> BackboneBatch:
        lengths = np.diff(offsets)[rows]
        n, width, n_queries = len(lengths), max(1, int(lengths.max())), self.shape.queries
        query = np.zeros((n, n_queries, self.dim), dtype=np.float32)
        encoded = np.zeros((n, width, self.dim), dtype=np.float32)
        p = np.zeros((n, n_queries, width), dtype=np.float32)
        valid = np.zeros((n, n_queries), dtype=np.float32)
        # Events of like length together: little padding, though the slice keeps its order.
        for chosen in chunks_by_length(lengths, HITS_PER_PASS):
            padded, present = pad(inputs, offsets, rows.start + chosen)
            encoded_hits, outputs = self(padded, present)
            m = padded.shape[1]
            encoded[chosen, :m] = encoded_hits.numpy()
            query[chosen] = outputs[-1].query.numpy()
            p[chosen, :, :m] = outputs[-1].assignment.sigmoid().numpy()
            valid[chosen] = outputs[-1].validity.sigmoid().numpy()
        return BackboneBatch(rows, query, encoded, p, valid)

    def _waves(self, inputs: Tensor, scaled: Tensor) -> Tensor:
        """Sines and cosines of r, z and eta (standardised) and of phi, [.., 8 FREQUENCIES]."""
        r, phi = (self.shape.features.index(name) for name in ("r", "phi"))
        angles = scaled[..., [r, -2, -1]] * (torch.pi / 4)
        octaves = 2.0 ** torch.arange(FREQUENCIES)
        waves = (torch.cat([angles, inputs[..., phi, None]], -1)[..., None] * octaves).flatten(-2)
        return torch.cat([waves.sin(), waves.cos()], -1)

    def _read(self, query: Tensor, encoded: Tensor, present: Tensor) -> Output:
        """Read logits off the queries; padding gets a finite one whose sigmoid is exactly 0."""
        normed = self.query_norm(query)
        logits = self.mask_net(normed) @ encoded.transpose(-1, -2) / self.dim**0.5
        assignment = logits.masked_fill(~present[:, None, :], -1e4)
        return Output(query, assignment, self.validity_net(normed).squeeze(-1))


def _column_sums(inputs: NDArray[np.float32], of: Callable[[Floats], Floats]) -> Floats:
    """Sums over the rows of a function of them, in numpy's order; a part in memory at a time."""
    total = np.zeros(inputs.shape[1])
    step = max(BLOCK_HITS // 8, 1)  # in float64, and several copies of it
    for start in range(0, len(inputs), step):
        part = of(inputs[start : start + step].astype(np.float64))
        total = np.add.reduce(np.concatenate([total[None], part]), axis=0)
    return total


def pad(
    inputs: NDArray[np.float32], offsets: NDArray[np.int64], chosen: NDArray[np.int64]
) -> tuple[Tensor, Tensor]:
    """Pad the inputs of the chosen events to [E, M, I]; also the mask of hits, bool [E, M].

    M is at least 1.
    """
    rows, new_offsets = ragged_rows(offsets, chosen)
    lengths = np.diff(new_offsets)
    present = np.arange(max(1, lengths.max()))[None, :] < lengths[:, None]
    padded = np.zeros((*present.shape, inputs.shape[1]), dtype=np.float32)
    padded[present] = inputs[rows]
    return torch.from_numpy(padded), torch.from_numpy(present)


def chunks_by_length(lengths: NDArray[np.int64], budget: int) -> Iterator[NDArray[np.int64]]:
    """Yield indices by rising length, in chunks of at most ``budget`` padded elements."""
    order = np.argsort(lengths, kind="stable")
    while len(order):
        padded = lengths[order] * np.arange(1, len(order) + 1)
        size = max(1, int(np.searchsorted(padded, budget, side="right")))
        yield order[:size]
        order = order[size:]


def save(model: HitTransformer, path: Path) -> None:
    """Write a checkpoint: weights, architecture, facts and the hashes of the training events."""
    weights = dict(model.state_dict())
    write(path, Checkpoint(asdict(model.shape), model.facts, weights, model.seen))


def load(checkpoint: str) -> HitTransformer:
    """Load a frozen transformer from a checkpoint.

    Args:
        checkpoint: A file that ``headsweep backbone`` wrote, or ``shipped`` for the one that was
            trained on the simulated spectrometer.

    Raises:
        UserError: The file is missing or damaged, is no such checkpoint, or its output is not
            finite.
    """
    path = SHIPPED if checkpoint == "shipped" else Path(checkpoint)
    where = f"backbone.checkpoint={checkpoint}"
    content = read(path, where)
    try:
        features = tuple(content.architecture.pop("features"))
        shape = Architecture(features=features, **content.architecture)
        with torch.device("meta"):  # takes no memory, whatever the sizes are
            wanted = HitTransformer(shape).state_dict()
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise UserError(
            f"{where}: its architecture cannot be built ({reason(error)}); {TRAIN}"
        ) from error
    _check_tensors(content.weights, wanted, where)
    model = HitTransformer(shape, content.facts, content.seen)
    model.load_state_dict(content.weights)
    check_output(model.freeze(), where)
    return model


def _check_tensors(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], where: str) -> None:
    """Refuse tensors of other names, shapes or types than the architecture has."""
    for name in sorted(found.keys() | wanted.keys()):
        kinds = [
            f"{tensor.dtype} {list(tensor.shape)}" if tensor is not None else "missing"
            for tensor in (found.get(name), wanted.get(name))
        ]
        if kinds[0] != kinds[1]:
            raise UserError(
                f"{where}: tensor {name!r} is {kinds[0]}; its architecture needs it "
                f"{kinds[1]}; {TRAIN}"
            )


@torch.inference_mode()
def check_output(model: HitTransformer, where: str) -> None:
    """Refuse weights that are not finite, or that give output that is not.

    Raises:
        UserError: The message names a tensor, or the probe.
    """
    bad = [name for name, tensor in model.state_dict().items() if not tensor.isfinite().all()]
    generator = torch.Generator().manual_seed(0)
    hits = torch.randn(4, 16, model.shape.inputs, generator=generator) * model.std + model.mean
    encoded, outputs = model(hits, torch.ones(4, 16, dtype=torch.bool))
    values = (encoded, outputs[-1].query, outputs[-1].assignment, outputs[-1].validity)
    if bad or not all(value.isfinite().all() for value in values):
        what = f"its tensor {bad[0]!r} is not finite" if bad else "its output is not finite"
        raise UserError(f"{where}: {what}; the training diverged or the file is damaged; {TRAIN}")
