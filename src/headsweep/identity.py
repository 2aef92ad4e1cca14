"""Identity of runs: two runs with the same ``run_key`` and seed have the same results."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from headsweep.config import (
    QUANTITIES,
    RUNTIME_KEYS,
    SCHEMAS,
    STATISTICS,
    TABLES,
    LossConfig,
    PoolingConfig,
    TargetConfig,
)
from headsweep.errors import without_secrets
from headsweep.files import flat

NUMERICS = 1
"""Raised by hand when the same configuration may give other results; part of every run's key."""

INERT_IN_ONE_LAYER = ("head.regression_hidden_dim", "head.dropout", "head.layer_norm")
"""Keys without effect on a head of one layer, which has no hidden one."""

INERT_IN_FOLDS = {"data.split.dev": 0.2, "data.split.test": 0.0}
"""Shares that folds replace, with the values that identities give them there."""

INERT_FOR_TRUTH = {"features.assignment_threshold": 0.1}
"""Keys without effect where p of a hit is 0 or 1, with those values."""

INERT_UNSPOILT = {"backbone.seed": 0}
"""Keys without effect where truth is neither impure nor inefficient, with those values."""

INERT_WITHOUT_HITS = {
    "pooling.width": "full",
    "pooling.projection": "linear",
    "pooling.statistics": [*STATISTICS],
}
"""Keys without effect where no hits are pooled, with those values."""

INERT_WITHOUT_RAW = {"features.name": "bending"}
"""Keys without effect where the hits' own features are not pooled, with those values."""

DROPPED = flat(
    {
        "target": {"phi": TargetConfig.phi, "analytic": TargetConfig.analytic},
        "loss": asdict(LossConfig()),
        "pooling": {"analytic": PoolingConfig.analytic},
    }
)
"""Defaults of keys that identities have only with other values, and older configurations lack."""

SHORT_NAMES = {schema._target_: name for _, name, schema in SCHEMAS}
"""Short name of each class of ours that a configuration may build, by its ``_target_``."""


def stable_hash(value: object, digits: int = 16) -> str:
    """Hash of JSON-able content, the same on every machine and run."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:digits]


def identity(resolved: Mapping[str, Any]) -> dict[str, Any]:
    """Part of a resolved configuration that decides results: no runtime keys, no seeds.

    Paths of data and checkpoint are left out, as every key has hashes of their content beside it,
    and limits of the data, which accept events or refuse them.
    So are keys without effect: of a one-layer head width, dropout and normalisation are set to 0,
    others to their defaults (``_replaced``), so that two spellings of one network share a key. Our
    own classes have their short names, and addresses no secrets.
    """
    kept = _without(resolved, *RUNTIME_KEYS, *TABLES, "seed", "seeds", "loss")
    kept["backbone"] = _short(kept["backbone"])
    for key, value in _replaced(flat(kept)).items():
        kept = _with(kept, key.split("."), value)
    with_coils = flat(kept).get("features.name") == "harmonics"
    data, head, pooling = kept["data"], dict(kept["head"]), kept["pooling"]
    split, selection = data["split"], data["selection"]
    head |= inert(head)
    source = _without(data["source"], "path", "val", "test", "limits")
    if source.get("features", ()) is None:  # the usual ones
        source = _without(source, "features")
    source = _without(source, *([] if with_coils else ["coils"]))
    backbone = _without(kept["backbone"], "checkpoint", "path")
    known: dict[str, Any] = {
        **kept,
        "data": {
            "source": _short(source),
            "split": _without(split, *(["fold"] if split["folds"] is None else [])),
            "selection": _without(
                selection, *(["min_station_hits"] if selection["min_stations"] == 0 else [])
            ),
        },
        "backbone": backbone,
        "pooling": _pooling(pooling),
        "head": _short(head),
        **learnt(resolved),
    }
    return {key: without_secrets(value) for key, value in known.items()}


def learnt(resolved: Mapping[str, Any]) -> dict[str, Any]:
    """Target and loss of a resolved configuration: losses of different ones are not comparable.

    Keys without effect are left out. So are those of ``DROPPED``, by their dotted names, where they
    have their defaults: configurations from before there was a choice have none.
    """
    target = asdict(TargetConfig(**resolved["target"]))
    known = flat({"target": target, "loss": asdict(LossConfig(**resolved.get("loss", {})))})
    changed = {k for k in known.keys() & DROPPED if known[k] != DROPPED[k]} - _inert_in_loss(known)
    loss = {key.removeprefix("loss."): known[key] for key in changed if key.startswith("loss.")}
    free = ["standardise", "pt_unit"] if target["standardise"] else []
    free += [key.removeprefix("target.") for key in {*DROPPED} - changed]
    return {"target": _without(target, *free), **({"loss": loss} if loss else {})}


def inert(head: Mapping[str, Any]) -> dict[str, float]:
    """Keys of a resolved head without effect in it, with the values that identities give them."""
    if SHORT_NAMES.get(head.get("_target_", "")) == "mlp" and head["regression_num_layers"] == 1:
        return dict.fromkeys((key.removeprefix("head.") for key in INERT_IN_ONE_LAYER), 0)
    return {}


def own_width(head: Mapping[str, Any]) -> bool:
    """Whether a resolved head of ours takes the width of its hidden layers from its input."""
    hidden = SHORT_NAMES.get(head.get("_target_", "")) == "mlp" and not inert(head)
    return hidden and head.get("regression_hidden_dim", 0) is None


def without_effect(known: Mapping[str, Any]) -> set[str]:
    """Keys of which an identity, with dotted keys, keeps no value: they have no effect in it."""
    found = {*_replaced(known), *_inert_in_loss(known)}
    if {*INERT_WITHOUT_HITS} <= found:
        found.add("pooling.activation")
    if known.get("head._target_") == "mlp" and known.get("head.regression_num_layers") == 1:
        found.update(INERT_IN_ONE_LAYER)
    if known.get("pooling.projection") == "linear":
        found.add("pooling.activation")
    if known.get("data.split.folds") is None:
        found.add("data.split.fold")
    if known.get("features.name") != "harmonics":
        found.add("data.source.coils")
    if known.get("data.selection.min_stations") == 0:
        found.add("data.selection.min_station_hits")
    if "target.standardise" not in known:  # it is left out where it holds
        found.add("target.pt_unit")
    return found


def _replaced(known: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted keys that another key makes inert, with the values that identities give them."""
    found: dict[str, Any] = {}
    if known.get("data.split.folds") is not None:
        found |= INERT_IN_FOLDS
    if known.get("backbone._target_") == "truth":
        found |= INERT_FOR_TRUTH
        if known["backbone.purity"] == known["backbone.efficiency"] == 1:
            found |= INERT_UNSPOILT
    if known.get("pooling.raw") is False:
        found |= INERT_WITHOUT_RAW
        if known.get("pooling.encoded") is False:
            found |= INERT_WITHOUT_HITS
    return found


def _inert_in_loss(known: Mapping[str, Any]) -> set[str]:
    """Keys of the loss without effect, of a configuration with dotted keys."""
    found = {f"loss.scale.{name}" for name in QUANTITIES if known.get(f"loss.weights.{name}") == 0}
    if known.get("loss.name", "smooth_l1") != "smooth_l1":
        found |= {"loss.beta", *(f"loss.scale.{name}" for name in QUANTITIES)}
    if known.get("loss.charge") == "bce":
        found.add("loss.scale.q")
    if known.get("target.name") == "q_over_pt":  # whose pt stands for kappa
        found |= {"loss.weights.q", "loss.scale.q"}
    return found


def _with(node: Mapping[str, Any], path: Sequence[str], value: Any) -> dict[str, Any]:
    """A nested node with another value at a path."""
    first, *rest = path
    return {**node, first: _with(node[first], rest, value) if rest else value}


def _pooling(node: Mapping[str, Any]) -> dict[str, Any]:
    """Pooling without an activation that a linear projection does not have, nor a new default."""
    if not node.get("analytic"):
        node = _without(node, "analytic")
    if node["projection"] == "linear":
        return _without(node, "activation")
    # Until the halves were exchanged it was silu(a) * b: those runs are other runs.
    formulas = {"swiglu": "a * silu(b)"}
    return {**node, "activation": formulas.get(node["activation"], node["activation"])}


def _short(node: Mapping[str, Any]) -> dict[str, Any]:
    """A node with the short name of its class; a user's own keeps its path."""
    target = node.get("_target_")
    return {**node, "_target_": SHORT_NAMES.get(target, target)}


def _without(node: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in node.items() if key not in keys}


def run_key(
    resolved: Mapping[str, Any],
    data_key: str,
    checkpoint: str,
    code: Mapping[str, str] | None = None,
) -> str:
    """Key of a job (16 hex): its identity, the data, the checkpoint and ``NUMERICS``.

    Args:
        resolved: The configuration.
        data_key: Key of the source.
        checkpoint: Key of the backbone.
        code: Hash of each module of the user's own; only where there is one it changes the key.
    """
    own = [dict(code)] if code else []
    return stable_hash([identity(resolved), data_key, checkpoint, NUMERICS, *own])


def recipe_key(resolved: Mapping[str, Any], cache_key: str) -> str:
    """Key of all that differs in steps and learning rate alone, on the same frozen features."""
    own = identity(resolved)
    optim = _without(own["optim"], "steps", "lr")
    return stable_hash([{**own, "optim": optim}, cache_key])


def member_key(job_key: str, seed: int) -> str:
    """Key of one member: its job and its seed."""
    return stable_hash([job_key, seed])


def override_key(override: str) -> str:
    """Key of an override such as ``head.dropout=0.1`` or ``+head=mine``."""
    return override.lstrip("+~").partition("=")[0]
