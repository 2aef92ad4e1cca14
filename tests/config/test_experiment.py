"""The configuration tree: every file composes, every mistake is named, keys mean what they say."""

import inspect
import re
import zipfile
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import pytest
import yaml
from hatchling.builders.wheel import WheelBuilder

from headsweep import config
from headsweep.config import config_root
from headsweep.errors import UserError
from headsweep.instantiate import locate
from headsweep.sweep.compose import ARGUMENTS_OF_CODE, Job
from headsweep.sweep.plan import make_plan

CONF, SWEEPS = config_root() / "conf", config_root() / "sweeps"
NEEDED = {
    "acts": ["data.source.path=x"],
    "hepattn": ["data.source.path=x"],
    "frozen": ["data.source.path=x"],
    "tracks": ["data.source.path=x", "data.source.features=[x,y,z]", "data.source.pt_edges=[1,2]"],
}
"""What a user must add to a file of ``conf/data`` that leaves a key open."""


def compose(*overrides: str) -> Job:
    return make_plan(overrides, multirun=False).jobs[0]


def flat(value: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, item in value.items():
        if isinstance(item, dict):
            found |= flat(item, f"{prefix}{key}.")
        else:
            found[prefix + key] = item
    return found


@pytest.fixture(scope="module")
def default() -> Job:
    return compose()


@pytest.mark.slow
@pytest.mark.parametrize(
    "path", sorted(CONF.glob("*/*.yaml")), ids=lambda p: f"{p.parent.name}={p.stem}"
)
def test_every_file_composes(path: Path) -> None:
    needed = NEEDED.get(path.stem, []) if path.parent.name == "data" else []
    if path.stem == "recorded":
        needed = ["data=frozen", "data.source.path=x"]
    job = compose(f"{path.parent.name}={path.stem}", *needed)
    assert path.parent.name == "rates" or job.labels[path.parent.name] == path.stem


@pytest.mark.parametrize("path", sorted(CONF.glob("data/*/*.yaml")), ids=lambda p: p.stem)
def test_every_file_below_data_composes(path: Path) -> None:
    group = f"data/{path.parent.name}"
    job = compose(f"{group}={path.stem}", "data=tiny")
    assert (job.labels[group], job.labels["data"]) == (path.stem, "tiny")


def test_the_selection_is_off_until_it_is_chosen(default: Job) -> None:
    assert default.config.data.selection == config.SelectionConfig()
    assert default.labels["data/selection"] == "all_tracks"
    quality = config.SelectionConfig(9, 0.1, 2.7, 5.0, 3, 3)
    assert compose("data/selection=quality").config.data.selection == quality
    tighter = compose("data/selection=quality", "data.selection.min_pt=20").config.data.selection
    assert tighter == config.SelectionConfig(9, 0.1, 2.7, 20.0, 3, 3)


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted(SWEEPS.glob("*.yaml")), ids=lambda p: p.stem)
def test_every_sweep_composes_and_says_what_it_is_and_compares(path: Path) -> None:
    header = "\n".join(re.findall(r"^#.*", path.read_text(), re.MULTILINE))
    assert "# Question: " in header
    assert f"# Command: headsweep train sweeps={path.stem}" in header
    assert re.search(r"# Time: \d+ (seconds|minutes)", header)
    assert "# Result: " in header
    fewer = {
        "arm_rates": ["arm=baseline,no_layernorm"],  # all of them: tests/sweep/test_plan.py
        "confirm": ["design.split=dev", "study=null"],
        "why": ["study=null", "head=conservative,simpler"],
    }
    plan = make_plan([f"sweeps={path.stem}", *fewer.get(path.stem, [])], multirun=True)
    assert plan.folder == Path("runs/sweeps") / path.stem
    assert len(plan.jobs) > 1


def test_a_loss_of_a_split_that_is_not_read_is_refused() -> None:
    with pytest.raises(UserError, match=r"never read, as design\.split=dev; write dev_loss"):
        make_plan(["sweeps=smoke", "design.metrics=[test_loss]"], multirun=True)


def seeds_of(path: Path) -> set[int]:
    """All seeds that a shipped sweep uses, also with the numbers that its header names."""
    text, default = path.read_text(), config.Config.__dataclass_fields__
    own = {key: default[key].default for key in ("seed", "seeds")} | yaml.safe_load(text)
    most = max(own["seeds"], *map(int, re.findall(r"\bseeds=(\d+)", text)), 0)
    return set(range(own["seed"], own["seed"] + most))


def test_rates_are_chosen_on_seeds_that_no_comparison_uses() -> None:
    files = sorted(SWEEPS.glob("*.yaml"))
    chooses = {
        path for path in files if re.search(r"^ +optim\.lr: [0-9.]+,", path.read_text(), re.M)
    }
    assert {path.stem for path in chooses} == {"arm_rates", "preset_rates"}
    chosen = set().union(*map(seeds_of, chooses))
    for path in set(files) - chooses:
        assert not seeds_of(path) & chosen, path.stem
    assert seeds_of(SWEEPS / "claims.yaml") == set(range(50))


@pytest.mark.parametrize(
    ("name", "hidden", "layers", "dropout"),
    [
        ("conservative", 144, 3, 0.1),
        ("more_capacity", 256, 4, 0.15),
        ("simpler", 96, 2, 0.05),
        ("direct_projection", None, 1, 0.1),
    ],
)
def test_presets(name: str, hidden: int | None, layers: int, dropout: float) -> None:
    head = compose(f"head={name}").config.head
    assert (head.regression_hidden_dim, head.regression_num_layers) == (hidden, layers)
    assert head.dropout == dropout


ARMS = {
    "baseline": {},
    "half_projections": {"pooling.width": "half"},
    "direct_head": {"head.regression_num_layers": 1},
    "before": {"pooling.width": "half", "head.regression_num_layers": 1},
    "no_dropout": {"head.dropout": 0.0},
}
"""What the arms with a file of their own change."""


def arms_of_sweeps() -> dict[str, dict[str, Any]]:
    """Arms that the shipped sweeps define, with their keys."""
    texts = [path.read_text() for path in sorted(SWEEPS.glob("*.yaml"))]
    found = [(yaml.safe_load(text).get("arms") or {}).items() for text in texts]
    return {name: keys for items in found for name, keys in items if keys is not None}


def test_every_arm_with_a_file_is_listed() -> None:
    assert {path.stem for path in CONF.glob("arm/*.yaml")} == ARMS.keys()


@pytest.mark.slow
@pytest.mark.parametrize(("arm", "changed"), (ARMS | arms_of_sweeps()).items())
def test_an_arm_changes_what_it_says(arm: str, changed: dict[str, Any], default: Job) -> None:
    """And its learning rate, which is part of no question."""
    files = [f"{key}={value}" for key, value in changed.items() if (CONF / key).is_dir()]
    changed = {key: value for key, value in changed.items() if not (CONF / key).is_dir()}
    old = flat((compose(*files) if files else default).resolved)
    new = flat(compose(f"arm={arm}").resolved)
    found = {key: value for key, value in new.items() if value != old[key]}
    assert found | {"optim.lr": new["optim.lr"]} == changed | {"optim.lr": new["optim.lr"]}


def test_the_table_of_rates_names_presets_and_arms_that_there_are() -> None:
    table = yaml.safe_load((CONF / "rates" / "tuned.yaml").read_text())["table"]
    heads = {path.stem for path in CONF.glob("head/*.yaml")} - {"dense"}  # arms have its rate
    assert table["head"].keys() == heads
    assert table["arm"].keys() <= ARMS.keys() | arms_of_sweeps().keys()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("head.dropout=1", "head.dropout=1.0: must be in [0, 1)"),
        ("head.regression_num_layers=0", "head.regression_num_layers=0: must be in [1, 1000]"),
        ("head.regression_hidden_dim=0", "head.regression_hidden_dim=0: must be in [1, 65536]"),
        ("optim.steps=0", "optim.steps=0"),
        ("optim.lr=0", "optim.lr=0"),
        ("optim.schedule=cosine", "optim.schedule=cosine: must be one of onecycle"),
        ("optim.patience=5", "optim.patience=5: not with optim.schedule=onecycle"),
        ("optim.schedule=plateau", "optim.patience is missing"),
        ("pooling.statistics=[avg,avg]", "pooling.statistics"),
        ("data.selection.minpt=5", "data.selection.minpt"),
        ("data/selection=good", "there is no file data/selection/good.yaml"),
        ("data/selection=null", "data/selection=null: choose a file"),
        ("name=x", "name=x: names a sweep; a single configuration is kept under its key"),
        ("optim.lr=inf", "optim.lr=inf: must be above 0 and finite"),
        ("loss=huber2", "there is no file loss/huber2.yaml"),
        ("loss.name=l2", "loss.name=l2: must be one of smooth_l1, gaussian, quantile"),
        ("loss.beta=0", "loss.beta=0.0: must be above 0 and finite"),
        ("loss.weights.pt=-1", "loss.weights.pt=-1.0: must be at least 0 and finite"),
        ("loss.scale.pt=0", "loss.scale.pt=0.0: must be above 0 and finite"),
        ("loss.weights.kappa=1", "loss.weights.kappa"),
        ("target.phi=sin", "target.phi=sin: must be one of angle, sincos"),
        ("optim.clip=nan", "optim.clip=nan: must be above 0 and finite"),
        ("optim.weight_decay=inf", "optim.weight_decay=inf: must be at least 0 and finite"),
        ("features.assignment_threshold=0", "features.assignment_threshold"),
        ("seeds=0", "seeds=0: must be a whole number in [1, 1e6]"),
        ("data=acts", "data.source.path is missing"),
        ("head.regression_num_layers=6.4", "head.regression_num_layers=6.4"),
        ("head.dropout=much", "head.dropout=much"),
        ("head.dropuot=0.1", "head.dropuot"),
        ("+head.dropuot=0.1", "head.dropuot: no such key"),
        ("+note=hello", "note: no such key"),
        ("heads=simpler", "Did you mean one of: 'head'"),
        ("head=simplest", "did you mean simpler?"),
        ("sweeps=preset", "did you mean presets?"),
        ("arm=null", "arm=null: choose a file"),
        ("rates=null", "rates=null: choose a file"),
        ("rates.table.head=3", "rates.table.head=3"),
        ("rates.table.head.conservative=much", "rates.table.head.conservative=much"),
        ("rates.table.head.conservative=-1", "optim.lr=-1.0: must be above 0"),
        ("~arms", "~arms: arms cannot be taken away"),
        ("~design.split", "split"),
        ("head=a,b", "add --multirun"),
        ("hydra.mode=MULTIRUN", "use -m"),
        ("head", "head"),
    ],
)
def test_mistakes_are_named(override: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        compose(override)
    assert message in str(caught.value).replace("\n", " ")
    assert "Traceback" not in str(caught.value)


def test_the_analytic_estimate_has_no_uncertainty() -> None:
    assert compose("target.analytic=true", "loss=huber").config.target.analytic
    with pytest.raises(UserError, match=r"target\.analytic=true: not with loss=quantile"):
        compose("target.analytic=true", "loss=quantile")


def test_mistakes_with_truth_are_named() -> None:
    with pytest.raises(UserError, match=r"backbone\.seed=-1: must be at least 0"):
        compose("backbone=truth", "backbone.seed=-1")
    with pytest.raises(UserError, match=r"pooling\.raw=false: not applicable with backbone=truth"):
        compose("backbone=truth", "arm=encoded_only")
    assert not compose("backbone=truth", "arm=raw_only").config.pooling.encoded


@pytest.mark.parametrize(
    ("key", "schema"),
    [
        ("data.source", config.SpectrometerConfig),
        ("data.source", config.HepattnConfig),
        ("data.source", config.TracksConfig),
        ("data.source", config.FrozenConfig),
        ("backbone", config.TransformerConfig),
        ("backbone", config.TruthConfig),
        ("backbone", config.RecordedConfig),
        ("head", config.MLPHeadConfig),
        ("head", config.DenseHeadConfig),
    ],
)
def test_schema_and_constructor_agree(key: str, schema: type) -> None:
    parameters = list(inspect.signature(locate(schema._target_)).parameters.values())
    takes = parameters[ARGUMENTS_OF_CODE.get(key, 0) :]
    has = [field.name for field in fields(schema) if field.name != "_target_"]
    assert {p.name for p in takes} == set(has)
    # Defaults live in config/ alone.
    assert all(p.default is p.empty for p in takes)


def test_the_schema_gives_every_default(default: Job) -> None:
    assert default.resolved["optim"] == {f.name: f.default for f in fields(config.OptimConfig)}
    assert all(f.default is not MISSING for f in fields(config.OptimConfig))


def test_the_wheel_carries_the_configuration(tmp_path: Path) -> None:
    [wheel] = WheelBuilder(str(config_root())).build(directory=str(tmp_path), versions=["standard"])
    names = set(zipfile.ZipFile(wheel).namelist())
    for folder in (CONF, SWEEPS):
        for path in folder.rglob("*.yaml"):
            assert f"headsweep/_config/{path.relative_to(config_root())}" in names
    assert "hydra_plugins/headsweep/search_path.py" in names
    for name in ("page.html.j2", "page.css", "page.js"):
        assert f"headsweep/report/render/{name}" in names
