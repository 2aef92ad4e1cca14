"""A trained head for use outside headsweep: hepattn's weights, plain torch, and ONNX."""

import importlib.util
import io
import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import save as serialise

from headsweep.config import STATISTICS, PoolingConfig
from headsweep.errors import UserError
from headsweep.features.cache import FeatureSet, open_cache
from headsweep.files import atomic_dir
from headsweep.hepattn import pooled_head
from headsweep.hepattn.head_weights import fold, to_hepattn
from headsweep.store import paths
from headsweep.store.runs import load_weights, read_config, read_job, read_results
from headsweep.training.loss import QUANTILES, VALUES, Loss
from headsweep.training.pooling import projected_dim

PREFIXED = 18
"""Of the 23 features of ATLAS muons so many come from the file, as ``spacePoint_..``."""

VERSIONS = ("213670a", "2a2de1c")
"""Commits of hepattn_muon that have the task; the first has ``inverse_fields``."""

OUTPUTS = {
    "plain": ("eta", "phi", "pt", "q"),
    "log_pt": ("eta", "phi", "log of pt", "q"),
    "inverse_pt": ("eta", "phi", "1/pt", "q"),
    "q_over_pt": ("eta", "phi", "q/pt"),
}
"""What each output is."""


SPREADS = {
    "smooth_l1": (),
    "gaussian": ("log variance",),
    "quantile": tuple(f"quantile {at:g}" for at in (QUANTILES[0], QUANTILES[-1])),
}
"""What follows the outputs, of each that is regressed, by ``loss.name``."""


def obstacles(config: Mapping[str, Any]) -> dict[str, list[str]]:
    """What hepattn's task cannot express of a configuration, by version; empty where it can.

    Each says what would have to change there.
    """
    pooling, target, head = config["pooling"], config["target"], config["head"]
    found = []
    more = {"bending": "the residual", "harmonics": "the residual, cos and sin of n phi"}
    if (features := config["features"]["name"]) in more:
        given = more[features]
        found.append(f"features={features}: the task would have to be given {given} of each hit")
    if pooling["projection"] != "mlp":
        found.append(
            "pooling.projection=linear: in its __init__, Dense(n, dim) would have to be "
            "torch.nn.Linear(n, dim)"
        )
    if pooling["width"] != "full":
        found.append("pooling.width=half: Dense(n, dim) would have to be Dense(n, dim // 2)")
    if pooling["statistics"] != [*STATISTICS]:
        own = ",".join(pooling["statistics"])
        found.append(f"pooling.statistics=[{own}]: it pools {', '.join(STATISTICS)}")
    parts = ("query", "raw", "encoded")
    found += [f"pooling.{part}=false: it pools it" for part in parts if not pooling[part]]
    if "regression_num_layers" not in head:
        found.append("head=dense: its head is an MLP")
    elif not head["layer_norm"] and head["regression_num_layers"] > 1:
        found.append("head.layer_norm=false: its hidden layers have a LayerNorm")
    if target["relative"]:
        found.append("target.relative=true: its outputs are absolute angles")
    values = VALUES[config.get("loss", {}).get("name", "smooth_l1")]
    if values > 1:
        found.append(
            f"loss={config['loss']['name']}: its head would have to have {values} outputs for each "
            "regressed field, and its loss to take the first ones, one a field, as predictions"
        )
    if target.get("phi") == "sincos":
        found.append("target.phi=sincos: it has the angle phi as one output")
    if target["pt_unit"] not in (1, 200) or (
        target["pt_unit"] == 200 and target["name"] != "plain"
    ):
        found.append(f"target.pt_unit={target['pt_unit']:g}: it has pT in GeV, or pT/200 itself")
    if target["name"] == "log_pt":
        found.append("target=log_pt: it has no logarithm of pT")
    inverse = "target=inverse_pt: this version has no inverse_fields"
    return {
        VERSIONS[0]: found,
        VERSIONS[1]: [*found, *([inverse] if target["name"] == "inverse_pt" else [])],
    }


def export(root: Path, run: str, out: Path, seed: int | None = None) -> list[str]:
    """Write a trained head of a job into a new folder.

    Args:
        root: The folder of all output, where ``run`` is a name.
        run: Folder of a job, or key of a single run, or ``NAME/jobs/NUMBER`` of a sweep.
        out: The folder; must not exist.
        seed: Which member; None for the first that is finished.

    Returns:
        What was written and what was not, in words.

    Raises:
        UserError: There is no such job or member, its head is the user's own class, or it needs the
            analytic estimate.
    """
    if out.exists():
        raise UserError(f"{out} exists; choose another folder")
    job = paths.find_job(root, run)
    about, seed = _checked(job, seed)
    config = read_config(job)
    cache = open_cache(paths.root_of(job), about["cache_key"])
    train = cache.load("train")
    loss = Loss.fit(config, train.truth, train.axis)
    weights = load_weights(paths.seed_folder(job, seed) / "head.safetensors")
    module, description = _module(config, cache, loss)
    scales = cache.meta.scales
    dense = "activation" in description["arguments"]["head"]
    folded = fold(
        weights,
        scales["raw"],
        scales["encoded"],
        scales["query"],
        loss.scale(),
        pooled_query=config["pooling"]["query"],
    )
    state = to_hepattn(folded, dense=dense)
    module.load_state_dict(state)
    module.eval()
    description |= {"job_key": about["job_key"], "seed": seed}
    graph = _onnx(module, description["arguments"])
    names = ["head.safetensors", "pooled_head.py", "head.json", *(["head.onnx"] if graph else [])]
    said = [f"written to {out}: {', '.join(names)}"]
    with atomic_dir(out) as folder:
        (folder / "head.safetensors").write_bytes(serialise(state))
        (folder / "head.json").write_text(json.dumps(description, indent=1))
        source = Path(pooled_head.__file__).read_text(encoding="utf-8")
        (folder / "pooled_head.py").write_text(source, encoding="utf-8")
        if graph:
            (folder / "head.onnx").write_bytes(graph)
        else:
            said.append("no head.onnx: pip install 'headsweep[onnx]'")
        for version, reasons in obstacles(config).items():
            name = f"task_{version}.yaml"
            if reasons:
                said += [f"not for hepattn_muon {version}: {reason}" for reason in reasons]
            else:
                (folder / name).write_text(_snippet(config, cache, version))
                said.append(f"for hepattn_muon {version}: {name}, weights head.safetensors")
    return said


def _checked(job: Path, seed: int | None) -> tuple[dict[str, Any], int]:
    """``job.json`` of a job, and the member."""
    about = read_job(job)
    if about is None:
        raise UserError(f"{job} {paths.NO_JOB}")
    config = read_config(job)
    for group in ("pooling", "target"):
        if config[group].get("analytic"):
            raise UserError(
                f"{job}: trained with {group}.analytic=true: the formula is a part of headsweep, "
                "and an exported head has none; use headsweep predict"
            )
    finished = [s for s, r in read_results(job).items() if r["status"] == "finished"]
    if not finished:
        raise UserError(f"{job}: no finished member to export")
    if seed is not None and seed not in finished:
        have = ", ".join(map(str, finished))
        raise UserError(f"{job}: seed {seed} is not finished; there are {have}")
    return about, finished[0] if seed is None else seed


def _module(
    config: Mapping[str, Any], cache: FeatureSet, loss: Loss
) -> tuple[pooled_head.PooledHead, dict[str, Any]]:
    """The head in plain torch with fresh weights, and the content of ``head.json``."""
    pooling, node, meta = PoolingConfig(**config["pooling"]), dict(config["head"]), cache.meta
    target = loss.target
    kind = node.pop("_target_").rpartition(".")[2]
    if kind == "DenseHead":
        head: dict[str, Any] = {"activation": node["activation"]}
    elif kind == "MLPHead":
        hidden = node["regression_hidden_dim"]
        pooled = pooling.query * meta.dim + (pooling.raw + pooling.encoded) * len(
            pooling.statistics
        ) * projected_dim(pooling, meta.dim)
        head = {
            "layers": node["regression_num_layers"],
            "hidden": pooled // 2 if hidden is None else hidden,
            "layer_norm": node["layer_norm"],
        }
    else:
        raise UserError(f"head: {kind} is a class of your own; export works for mlp and dense")
    arguments: dict[str, Any] = {
        "features": len(meta.feature_names),
        "dim": meta.dim,
        "projected": projected_dim(pooling, meta.dim),
        "outputs": loss.outputs,
        "activation": pooling.activation if pooling.projection == "mlp" else None,
        "statistics": list(pooling.statistics),
        "query": pooling.query,
        "raw": pooling.raw,
        "encoded": pooling.encoded,
        "threshold": meta.threshold,
        "head": head,
    }
    outputs = [*OUTPUTS[target.name]]
    if loss.config.charge == "bce":
        outputs[-1] = "logit of a positive q"
    if target.phi == "sincos":
        outputs[1:2] = ["sin of phi", "cos of phi"]
    if target.relative:
        outputs[:2] = ["eta - eta of the hits", "phi - phi of the hits"]
    regressed = outputs[: loss.regressed]
    more = [f"{word} of {name}" for word in SPREADS[loss.config.name] for name in regressed]
    return pooled_head.PooledHead(**arguments), {
        "arguments": arguments,
        "hit_features": list(meta.feature_names),
        "outputs": [*outputs, *more],
        "pt_unit_gev": target.pt_unit,
        "largest_pt_gev": target.max_pt,
        "target": config["target"],
    }


def _onnx(module: torch.nn.Module, arguments: Mapping[str, Any]) -> bytes:
    """The module as ONNX for any number of events, queries and hits; empty without the package."""
    if importlib.util.find_spec("onnx") is None:
        return b""
    features, dim = arguments["features"], arguments["dim"]
    inputs = {
        "query": torch.zeros(2, 3, dim),
        "hits": torch.zeros(2, 5, features),
        "encoded": torch.zeros(2, 5, dim),
        "logit": torch.zeros(2, 3, 5),
        "valid": torch.ones(2, 5, dtype=torch.bool),
    }
    hits, queries = {0: "event", 1: "hit"}, {0: "event", 1: "query"}
    axes = dict.fromkeys(("hits", "encoded", "valid"), hits)
    axes |= {"query": queries, "outputs": queries, "logit": {**queries, 2: "hit"}}
    file = io.BytesIO()
    with warnings.catch_warnings():
        # The exporter that needs no further package is the old one, which says that it is old.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            tuple(inputs.values()),
            file,  # type: ignore[arg-type]  # the old exporter writes into a buffer
            dynamo=False,
            input_names=list(inputs),
            output_names=["outputs"],
            dynamic_axes=axes,
        )
    return file.getvalue()


def _snippet(config: Mapping[str, Any], cache: FeatureSet, version: str) -> str:
    """The task of hepattn's YAML that takes the weights."""
    target, head = config["target"], config["head"]
    names = cache.meta.feature_names
    hit_fields = [f"spacePoint_{n}" if i < PREFIXED else n for i, n in enumerate(names)]
    ending = {"q_over_pt": ["qpt"]}.get(target["name"], ["pt", "q"])
    if target["pt_unit"] == 200 and target["name"] == "plain":
        ending = ["pt_norm", "q"]
    arguments: dict[str, Any] = {
        "name": "parameter_regression",
        "input_hit": "hit",
        "input_object": "query",
        "output_object": "track",
        "target_object": "particle",
        "hit_fields": hit_fields if len(names) == 23 else list(names),
        "fields": [f"truthMuon_{name}" for name in ("eta", "phi", *ending)],
        "loss_weight": 1.0,
        "dim": cache.meta.dim,
        "assignment_threshold": cache.meta.threshold,
        "regression_hidden_dim": head["regression_hidden_dim"],
        "regression_num_layers": head["regression_num_layers"],
        "dropout": head["dropout"],
    }
    if version == VERSIONS[0]:
        inverse = ["truthMuon_pt"] if target["name"] == "inverse_pt" else None
        arguments["inverse_fields"] = inverse
    kind = "hepattn.models.task.WeightedPoolingObjectHitRegressionTask"
    note = (
        f"# For hepattn_muon {version}. It stands behind the mask task in the list of tasks, and\n"
        "# data.targets.particle must have its fields. Its weights are head.safetensors, without\n"
        "# the prefix of the model (model.tasks.N.); pooling.activation is "
        f"{config['pooling']['activation']}.\n"
    )
    return note + yaml.safe_dump(
        [{"class_path": kind, "init_args": arguments}], sort_keys=False, width=100
    )
