"""An exported head gives the outputs of the trained one, in every form."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file
from torch import Tensor

from headsweep.config import TargetConfig
from headsweep.errors import UserError
from headsweep.features.cache import ColumnScale, Features, open_cache
from headsweep.hepattn.export import export, obstacles
from headsweep.report.scoring import score
from headsweep.store.paths import root_of
from headsweep.store.runs import read_config, read_job
from headsweep.sweep.inputs import find_inputs
from headsweep.sweep.job import run_job
from headsweep.sweep.plan import make_plan
from headsweep.training.targets import Target

SMALL = ["data=tiny", "data.source.events=60", "optim.steps=5", "optim.batch_size=16"]
HEPATTN = ["features=document", "pooling.projection=mlp", "pooling.activation=swiglu"]
CASES = {
    "hepattn": HEPATTN,
    "silu, raw": [*HEPATTN, "pooling.activation=silu", "target.standardise=false", "optim.lr=1e-4"],
    "before": [*HEPATTN, "head=dense", "pooling=half"],
    "document": ["head=simpler", "target=log_pt", "head.layer_norm=false"],
    "one layer": ["head=direct_projection", "target=q_over_pt", "pooling.statistics=[max,avg]"],
    "no query": ["pooling.query=false", "target=inverse_pt", "pooling.encoded=false"],
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shared by all jobs, with their caches."""
    return tmp_path_factory.mktemp("root")


def train(root: Path, *overrides: str) -> Path:
    """Folder of a small job."""
    words = [*SMALL, "tracking=false", f"root={root}", *overrides]
    job = make_plan(words, multirun=False).jobs[0]
    inputs = find_inputs(job)
    folder = root / "runs" / inputs.job_key
    run_job(job, inputs, folder)
    return folder


def raw_units(values: Any, scale: ColumnScale) -> Tensor:
    """Undo the standardisation of a cache."""
    return torch.tensor(values * np.array(scale.std) + np.array(scale.mean), dtype=torch.float32)


def padded(features: Features, scales: dict[str, ColumnScale]) -> tuple[Tensor, ...]:
    """Each track as an event with one query, its hits padded, all in their own units."""
    raw, encoded = (
        raw_units(features.raw, scales["raw"]),
        raw_units(features.encoded, scales["encoded"]),
    )
    query = raw_units(features.query, scales["query"])
    counts = np.diff(features.offsets)
    n, longest = len(counts), int(counts.max())
    hits, codes = (
        torch.full((n, longest, raw.shape[1]), torch.nan),
        torch.zeros(n, longest, encoded.shape[1]),
    )
    p, valid = torch.full((n, 1, longest), 0.5), torch.zeros(n, longest, dtype=torch.bool)
    for track, (start, count) in enumerate(zip(features.offsets, counts, strict=False)):
        rows = slice(int(start), int(start + count))
        hits[track, :count], codes[track, :count] = raw[rows], encoded[rows]
        p[track, 0, :count] = torch.tensor(features.p[rows])
        valid[track, :count] = True
    return query[:, None], hits, codes, torch.logit(p.double()).float(), valid


def decoded(folder: Path, job: Path, outputs: Tensor, features: Features) -> np.ndarray:
    """kappa and eta of exported outputs, decoded by their own facts."""
    about = json.loads((folder / "head.json").read_text())
    last = outputs.double().numpy()
    third, unit = last[:, 2], about["pt_unit_gev"]
    pt = {
        "pt": lambda: third * unit,
        "log of pt": lambda: np.exp(third) * unit,
        "1/pt": lambda: np.where(third > 0, unit / third, np.inf),
        "q/pt": lambda: unit / np.abs(third),
    }[about["outputs"][2]]()
    pt = np.clip(pt, 0.1, about["largest_pt_gev"])
    kappa = third / unit if len(about["outputs"]) == 3 else np.sign(last[:, 3]) / pt
    return np.stack([last[:, 0], last[:, 1], kappa])


def plain_torch(folder: Path) -> Any:
    """The exported module, imported from its own file."""
    spec = importlib.util.spec_from_file_location("exported_head", folder / "pooled_head.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.load(folder)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_every_form_predicts_what_headsweep_predicts(root: Path, tmp_path: Path, case: str) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    job, out = train(root, *CASES[case]), tmp_path / "out"
    said = export(root, str(job), out)
    cache = open_cache(root_of(job), (read_job(job) or {})["cache_key"])
    features = cache.load("dev")
    tracks, _ = score(job, 0, "dev", root)
    inputs = padded(features, cache.meta.scales)
    with torch.no_grad():
        outputs = plain_torch(out)(*inputs)[:, 0]
    found = decoded(out, job, outputs, features)
    train_split = cache.load("train")
    target = Target.fit(
        TargetConfig(**read_config(job)["target"]), train_split.truth, train_split.axis
    )
    np.testing.assert_allclose(found[0], tracks.eta, atol=2e-5 * target.std[0], rtol=1e-4)
    np.testing.assert_allclose(found[1], tracks.phi, atol=2e-5 * target.std[1], rtol=1e-4)
    # kappa of a pT close to 0 is large: compared where it is not clipped.
    inside = ~tracks.clipped
    np.testing.assert_allclose(found[2][inside], tracks.kappa[inside], rtol=2e-3, atol=1e-5)

    session = onnxruntime.InferenceSession(out / "head.onnx")
    words = ("query", "hits", "encoded", "logit", "valid")
    values = {w: torch.nan_to_num(x).numpy() for w, x in zip(words, inputs, strict=True)}
    # What a head does not use is no input.
    [run] = session.run(None, {node.name: values[node.name] for node in session.get_inputs()})
    scale = outputs.abs().amax(0).clamp_min(1)
    assert ((torch.tensor(run[:, 0]) - outputs).abs() / scale).max() < 1e-5

    takes = {path.name for path in out.glob("task_*.yaml")}
    assert takes == {
        f"task_{version}.yaml"
        for version, reasons in obstacles(read_config(job)).items()
        if not reasons
    }
    assert bool(takes) == (case in ("hepattn", "silu, raw"))
    assert all(any(path in line for line in said) for path in takes)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["gaussian", "quantile"])
def test_an_uncertainty_is_exported_in_the_units_of_its_output(
    root: Path, tmp_path: Path, kind: str
) -> None:
    keys = [f"loss={kind}", "loss.charge=bce", "target=log_pt", "target.phi=sincos"]
    job, out = train(root, *HEPATTN, *keys), tmp_path / "out"
    said = export(root, str(job), out)
    assert any(f"loss={kind}" in line for line in said)
    cache = open_cache(root_of(job), (read_job(job) or {})["cache_key"])
    tracks, _ = score(job, 0, "dev", root)
    with torch.no_grad():
        outputs = plain_torch(out)(*padded(cache.load("dev"), cache.meta.scales))[:, 0]
    names = json.loads((out / "head.json").read_text())["outputs"]
    found = dict(zip(names, outputs.double().numpy().T, strict=True))
    if kind == "gaussian":
        sigma = {n: np.exp(found[f"log variance of {n}"] / 2) for n in ("eta", "log of pt")}
    else:
        ends = ("quantile 0.1587 of", "quantile 0.8413 of")
        sigma = {
            n: np.abs(np.subtract(*(found[f"{end} {n}"] for end in ends))) / 2
            for n in ("eta", "log of pt")
        }
    assert f"log variance of {names[4]}" not in found  # the charge has none
    own = {
        "eta": (found["eta"], tracks.eta),
        "phi": (np.arctan2(found["sin of phi"], found["cos of phi"]), tracks.phi),
        "charge": (found["logit of a positive q"], tracks.charge),
        "eta_sigma": (sigma["eta"], tracks.eta_sigma),
        "kappa_sigma": (sigma["log of pt"] / tracks.pt, tracks.kappa_sigma),
    }
    for name, (ours, theirs) in own.items():
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4, err_msg=name)


def test_names_and_the_snippet_are_hepattns(root: Path, tmp_path: Path) -> None:
    job, out = train(root, *HEPATTN, "head=simpler"), tmp_path / "out"
    export(root, str(job), out)
    state = load_file(out / "head.safetensors")
    assert {name: list(value.shape) for name, value in state.items()} == {
        "raw_hit_net.net.0.weight": [92, 23],
        "raw_hit_net.net.0.bias": [92],
        "raw_hit_net.net.2.weight": [32, 46],
        "raw_hit_net.net.2.bias": [32],
        "encoded_hit_net.net.0.weight": [128, 32],
        "encoded_hit_net.net.0.bias": [128],
        "encoded_hit_net.net.2.weight": [32, 64],
        "encoded_hit_net.net.2.bias": [32],
        "regression_head.0.weight": [96, 288],
        "regression_head.0.bias": [96],
        "regression_head.2.weight": [96],
        "regression_head.2.bias": [96],
        "regression_head.4.weight": [4, 96],
        "regression_head.4.bias": [4],
    }
    [task] = yaml.safe_load((out / "task_213670a.yaml").read_text())
    assert task["class_path"].endswith(".WeightedPoolingObjectHitRegressionTask")
    arguments = task["init_args"]
    assert arguments["hit_fields"][0] == "spacePoint_globEdgeHighX"
    assert arguments["hit_fields"][17:] == [
        "spacePoint_technology",
        "r",
        "s",
        "theta",
        "phi",
        "eta",
    ]
    assert arguments["fields"] == [f"truthMuon_{name}" for name in ("eta", "phi", "pt", "q")]
    assert (arguments["dim"], arguments["regression_hidden_dim"]) == (32, 96)
    [other] = yaml.safe_load((out / "task_2a2de1c.yaml").read_text())
    assert arguments.keys() - other["init_args"].keys() == {"inverse_fields"}


def test_what_cannot_be_exported_is_refused_by_name(root: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="absent"):
        export(root, "absent", tmp_path / "out")
    job = train(root, *HEPATTN, "head=simpler")
    with pytest.raises(UserError, match="seed 7 is not finished; there are 0"):
        export(root, str(job), tmp_path / "out", seed=7)
    (tmp_path / "there").mkdir()
    with pytest.raises(UserError, match="there exists"):
        export(root, str(job), tmp_path / "there")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("override", "said", "versions"),
    [
        ("features=bending", "features=bending", 2),
        ("pooling.projection=linear", "torch.nn.Linear", 2),
        ("pooling=half", "dim // 2", 2),
        ("pooling.statistics=[max]", r"[max]", 2),
        ("pooling.query=false", "pooling.query=false", 2),
        ("head.layer_norm=false", "LayerNorm", 2),
        ("target.relative=true", "relative", 2),
        ("target=log_pt", "log_pt", 2),
        ("target=inverse_pt", "inverse_fields", 1),
        ("target=q_over_pt", "", 0),
        ("target.phi=sincos", "target.phi=sincos", 2),
        ("loss=gaussian", "loss=gaussian: its head would have to have 2 outputs", 2),
        ("loss=quantile", "loss=quantile: its head would have to have 3 outputs", 2),
        ("loss=weighted_pt", "", 0),
        ("loss.charge=bce", "", 0),  # the sign of the output is the charge there, too
    ],
)
def test_what_hepattn_cannot_express_is_named(override: str, said: str, versions: int) -> None:
    job = make_plan([*HEPATTN, override], multirun=False).jobs[0]
    found = [reasons for reasons in obstacles(job.resolved).values() if reasons]
    assert len(found) == versions
    assert all(any(said in reason for reason in reasons) for reasons in found)


@pytest.mark.parametrize("key", ["pooling.analytic", "target.analytic"])
def test_a_head_that_needs_the_formula_is_refused(root: Path, tmp_path: Path, key: str) -> None:
    job = train(root, "backbone=truth", "data.source.events=700", f"{key}=true")
    with pytest.raises(UserError, match=f"trained with {key}=true.*headsweep predict"):
        export(root, str(job), tmp_path / "out")
    assert not (tmp_path / "out").exists()
