"""Kinds of damaged input: the commands that read each, and what must hold if they take it."""

import json
import random
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from numpy.typing import NDArray

from helpers import mutations
from helpers.command import run_here

SMALL = ["data=tiny", "data.source.events=60", "workers=1", "optim.steps=6", "optim.batch_size=16"]
SMALL += ["rates=tuned"]
QUICK = [*SMALL, "backbone=truth", "tracking=false"]

Draw = Callable[[Path, random.Random], tuple[str, list[str]]]
Check = Callable[[Path, Path], str | None]


def _nothing(work: Path, specimen: Path) -> str | None:
    """No more is asked than to end in words."""
    return None


@dataclass(frozen=True)
class Kind:
    """A kind of damaged input.

    Attributes:
        name: For the table.
        share: Of the cases, in parts of all kinds' sum.
        parts: Folders of the specimen that it works on.
        draw: Damages the copy; gives what it did, and the arguments of the command.
        check: What is wrong silently where the command took it; takes work and specimen folders.
    """

    name: str
    share: int
    parts: tuple[str, ...]
    draw: Draw
    check: Check = _nothing


def make_specimen(folder: Path) -> None:
    """Data, configurations and a root with a grid, a search and a single run, all undamaged."""
    folder.mkdir(parents=True, exist_ok=True)
    run = partial(run_here, folder)
    grid = ["head=simpler,conservative", "seeds=2", "name=grid", "root=X"]
    run("train", "-m", *grid, *SMALL, "backbone=truth")
    run("train", "root=X", *SMALL, "backbone=truth")
    trials = ["sweeps=search", "name=search", "seeds=1", "hydra.sweeper.n_trials=3"]
    run("train", *trials, "head.regression_hidden_dim=int(interval(8,16))", "root=X", *QUICK)
    run("data", "simulate", "hdf5", "--events", "30", "--seed", "7")
    run("backbone", "model.safetensors", "--steps", "3", *SMALL[:2], "root=Y")
    shutil.rmtree(folder / "Y", ignore_errors=True)
    (folder / "checkpoint").mkdir()
    (folder / "model.safetensors").rename(folder / "checkpoint/model.safetensors")
    _write_tracks(folder)
    _write_conf(folder / "conf")
    run("sync", "--root", "X")
    shutil.copytree(folder / "X", folder / "database/X")
    for name in ("mlflow.db", ".mlflow.lock"):
        (folder / "X" / name).unlink(missing_ok=True)
    shutil.rmtree(folder / "X/mlartifacts")
    run("report", _single(folder / "X"), "--root", "X")
    [report] = (folder / "X").glob("*/*/report")
    (report / "report.json").rename(folder / "report.json")
    shutil.rmtree(report)


def _single(root: Path) -> str:
    """Key of the single run."""
    (folder,) = (root / "runs").iterdir()
    return folder.name


def _write_tracks(folder: Path) -> None:
    """The muons of the HDF5 folder in the Parquet layout, in mm and ns as from Acts."""
    from headsweep.events.hepattn import Hepattn

    events = Hepattn(str(folder / "hdf5"), [5, 20, 100], 10, {}, None, None, None).load(
        folder / "X"
    )

    def low(axis: str) -> NDArray[np.float32]:
        return events.column(f"globEdgeLow{axis}")

    hits = pd.DataFrame({name: low(name.upper()) * 1000.0 for name in "xyz"})
    hits["t"] = np.sqrt((hits[["x", "y", "z"]] ** 2).sum(axis=1)) / 299.792458
    hits["event"] = np.repeat(events.ids, np.diff(events.hit_offsets))
    hits["particle"] = events.hit_track.astype(np.int64)
    tracks = pd.DataFrame(events.tracks, columns=["eta", "phi", "pt", "q"])
    counts = np.diff(events.track_offsets)
    tracks["event"] = np.repeat(events.ids, counts)
    tracks["particle"] = np.concatenate([np.arange(count) for count in counts])
    (folder / "tracks").mkdir()
    hits.to_parquet(folder / "tracks/hits.parquet", index=False)
    tracks.to_parquet(folder / "tracks/particles.parquet", index=False)


def _write_conf(folder: Path) -> None:
    """A user's own head, sweep and data file."""
    files: dict[str, str] = {
        "head/own.yaml": yaml.safe_dump(
            {
                "defaults": ["schema_mlp", "_self_"],
                "regression_hidden_dim": 24,
                "regression_num_layers": 2,
                "dropout": 0.1,
            }
        ),
        "sweeps/mine.yaml": "# @package _global_\n"
        + yaml.safe_dump(
            {
                "defaults": [{"override /data": "own"}, "_self_"],
                "seeds": 2,
                "optim": {"steps": 6, "batch_size": 16},
                "hydra": {
                    "sweeper": {"params": {"head": "own,simpler", "optim.lr": "0.001,0.002"}}
                },
            }
        ),
        "data/own.yaml": yaml.safe_dump(
            {
                "defaults": ["tiny", "_self_"],
                "source": {"events": 60, "seed": 3},
                "split": {"val": 0.2, "dev": 0.2},
            }
        ),
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def _damage_one(folder: Path, rng: random.Random, pattern: str = "*") -> str:
    """Damage one file below a folder."""
    files = [path for path in mutations.files_below(folder) if path.match(pattern)]
    return mutations.damage(rng.choice(files), rng)


def _hdf5(work: Path, rng: random.Random) -> tuple[str, list[str]]:
    what = _damage_one(work / "hdf5", rng)
    return what, ["data", "validate", "data=hepattn", "data.source.path=hdf5"]


def _parquet(work: Path, rng: random.Random) -> tuple[str, list[str]]:
    what = _damage_one(work / "tracks", rng)
    return what, ["data", "validate", *PARQUET]


PARQUET = [
    *("data=acts", "data.source.path=tracks", "data.source.plane=rz"),
    *("data.source.limits.extent=[1,50]", "data.source.limits.field=null"),
]


def _physical(*overrides: str) -> Check:
    """What was accepted as data lies inside of what a muon detector can see."""

    def check(work: Path, specimen: Path) -> str | None:
        from headsweep.sweep.inputs import find_source
        from headsweep.sweep.plan import make_plan

        job = make_plan(list(overrides), multirun=False).jobs[0]
        events = find_source(job).load(work / "X")
        eta, phi, pt, q = events.tracks.T.astype(np.float64)
        names = (
            [f"globEdgeLow{axis}" for axis in "XYZ"]
            if "globEdgeLowX" in events.features
            else list("xyz")
        )
        xyz = np.stack([events.column(name) for name in names]).astype(np.float64)
        held = {
            "finite": np.isfinite(events.hits).all() and np.isfinite(events.tracks).all(),
            "|eta| < 10": (np.abs(eta) < 10).all(),
            "|phi| <= 2 pi": (np.abs(phi) <= 2 * np.pi + 1e-3).all(),
            "0 < pt < 14 TeV": ((pt > 0) & (pt < 14000)).all(),
            "q is +-1": (np.abs(q) == 1).all(),
            "hits within 100 m": (np.abs(xyz) < 100).all(),
            "hits beyond 1 cm": np.median(np.sqrt((xyz**2).sum(axis=0))) > 0.01,
        }
        broken = [name for name, holds in held.items() if not holds]
        return f"accepted though not: {', '.join(broken)}" if broken else None

    return check


def _yaml(work: Path, rng: random.Random) -> tuple[str, list[str]]:
    what = _damage_one(work / "conf", rng)
    own = ["--config-dir", "conf"]
    arguments = rng.choice(
        [
            ["train", "--dry-run", *own, "sweeps=mine", "backbone=truth", "tracking=false"],
            ["train", *own, "sweeps=mine", "--cfg", "job"],
            ["train", "--dry-run", *own, *QUICK, "head=own"],
            ["train", "--dry-run", *own, *QUICK[2:], "data=own", "root=X"],
        ]
    )
    return what, arguments


WORDS = [
    *("head=simpler", "head=conservative,simpler", "optim.lr=0.001", "optim.lr=0.1,0.2", "seeds=3"),
    *("seed=7", "head.dropout=0.1", "data.source.events=60", "data.split.val=0.2", "name=one"),
    *("optim.steps=6", "sweeps=presets", "sweeps=search", "arm=no_dropout", "features=bending"),
    *("pooling=half", "target=log_pt", "hydra.sweeper.n_trials=2", "device=cpu", "workers=1"),
    *("head.regression_hidden_dim=int(interval(8, 16))", "data.split.folds=3", "threads=1"),
    *("pooling.statistics=[mean,max]", "design.metrics=[qoverpt_r68]", "tracking_uri=null"),
]
CHARACTERS = "=,.[]{}()'\"$~+ \\/:@#%?&*-0x1e9nulé\n\t\x00"


def _overrides(work: Path, rng: random.Random) -> tuple[str, list[str]]:
    """Overrides with other letters, other values, or another's half."""
    words = rng.sample(WORDS, rng.randrange(1, 4))
    for place, word in enumerate(words):
        act = rng.choice(["letters", "letters", "value", "range", "half", "none"])
        if act == "letters":
            at = rng.randrange(len(word))
            word = word[:at] + rng.choice(CHARACTERS) + word[at + rng.randrange(2) :]
        elif act == "value":
            word = f"{word.partition('=')[0]}={rng.choice(mutations.ODD)}"
        elif act == "range":
            end = rng.choice(["1e9", "-5", "nan", "3", "0.1,0.2", "a,b"])
            sweep = rng.choice(["range(0,{})", "interval(0,{})", "glob({})", "shuffle({})"])
            word = f"{word.partition('=')[0]}={sweep.format(end)}"
        elif act == "half":
            word = word[: rng.randrange(len(word))] + rng.choice(WORDS)[rng.randrange(6) :]
        words[place] = word.replace("\x00", rng.choice(["", "\\x00"]))
    multirun = ["-m"] if rng.random() < 0.4 else []
    return f"{words}", ["train", "--dry-run", *multirun, *QUICK, *words]


def _weights(work: Path, rng: random.Random) -> tuple[str, list[str]]:
    key = _single(work / "X")
    file = work / "X/runs" / key / "seed_0/head.safetensors"
    what = rng.choice([*mutations.BYTES, *mutations.WHOLE, _other_seed])(file, rng)
    return what, ["report", key, "--root", "X", "--json"]


def _other_seed(path: Path, rng: random.Random) -> str:
    """Weights of the same shape from another training."""
    shutil.copy(path.parents[3] / "sweeps/grid/jobs/1/seed_1/head.safetensors", path)
    return "weights of another seed"


def _same_report(work: Path, specimen: Path) -> str | None:
    """The figures are those of the undamaged weights."""
    (report,) = work.glob("X/runs/*/report/report.json")
    found, wanted = (json.loads(path.read_text()) for path in (report, specimen / "report.json"))
    differ = [key for key in wanted if found.get(key) != wanted[key]]
    return f"the report differs in {', '.join(differ)}" if differ else None


def _checkpoint(work: Path, rng: random.Random) -> tuple[str, list[str]]:
    what = _damage_one(work / "checkpoint", rng)
    where = ["backbone=transformer", "backbone.checkpoint=checkpoint/model.safetensors"]
    return what, ["train", *QUICK[:-2], "tracking=false", *where, "root=X", "optim.steps=2"]


def _finite(work: Path, specimen: Path) -> str | None:
    """What came out of a damaged transformer is at least a number."""
    for file in work.glob("X/cache/features/*/*/*.npy"):
        if file.stem in ("analytic", "classical"):  # NaN where there is no estimate
            continue
        array = np.load(file)
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            return f"{file.name} has values that are not finite"
    return None


def _runs(work: Path, rng: random.Random) -> tuple[str, list[str]]:
    key, root = _single(work / "X"), ["--root", "X"]
    files = [p for p in mutations.files_below(work / "X") if p.suffix != ".lock"]
    file = rng.choice([*files, *(p for p in files if "cache" not in p.parts), work / "X/new"])
    if file.name == "new":
        what = _new_things(work / "X", rng)
    else:
        what = f"{file.parent.relative_to(work / 'X')}/{mutations.damage(file, rng)}"
    again = ["train", "--dry-run", "-m", "head=simpler,conservative", "seeds=2", "name=grid"]
    arguments = rng.choice(
        [
            ["list", *root],
            ["report", rng.choice(["grid", "search", key]), *root, "--json"],
            ["study", "search", *root],
            ["plan", "grid", *root],
            ["diff", "grid/jobs/0", key, *root],
            ["predict", f"X/runs/{key}", "hdf5"],
            ["clean", *root],
            ["sync", *root],
            [*again, *SMALL, "backbone=truth", "root=X"],
            ["train", *SMALL, "backbone=truth", "tracking=false", "root=X"],
        ]
    )
    return what, arguments


def _new_things(root: Path, rng: random.Random) -> str:
    """What has no business there: links, strange names, files in place of folders."""
    places = [root, root / "sweeps", root / "runs", root / "sweeps/grid/jobs", root / "cache/data"]
    place = rng.choice(places)
    name = rng.choice(["new", "99", "a b%20?#", "é" * 40, ".tmp-12345678", "seed_x", "NaN", "0x1"])
    new = place / name
    act = rng.choice(["file", "folder", "circle", "nowhere", "job"])
    if act == "file":
        new.write_bytes(b"\xff\x00")
    elif act == "folder":
        new.mkdir()
    elif act == "circle":
        new.symlink_to(new)
    elif act == "nowhere":
        new.symlink_to("/nowhere/at/all")
    else:
        shutil.copytree(root / "sweeps/grid/jobs/0", new)
    return f"{act} {name!r} in {place.relative_to(root.parent)}"


def _mlflow(work: Path, rng: random.Random) -> tuple[str, list[str]]:
    shutil.move(work / "database/X", work / "X")
    return mutations.damage(work / "X/mlflow.db", rng), ["sync", "--root", "X"]


def _counts(database: Path) -> tuple[int, int]:
    """Live runs in a live experiment, and their metrics."""
    live = (
        "FROM runs JOIN experiments USING (experiment_id) {} WHERE runs.lifecycle_stage = 'active' "
        "AND experiments.lifecycle_stage = 'active' AND experiments.name = 'headsweep'"
    )
    with closing(sqlite3.connect(database)) as connection:
        (runs,) = connection.execute(f"SELECT count(*) {live.format('')}").fetchone()
        join = live.format("JOIN metrics USING (run_uuid)")
        each = "count(DISTINCT run_uuid || key || step)"  # the best so far is told several times
        (metrics,) = connection.execute(f"SELECT {each} {join}").fetchone()
    return runs, metrics


def _all_there(work: Path, specimen: Path) -> str | None:
    """After a sync that says so, MLflow has every run and metric."""
    found, wanted = (_counts(root / "mlflow.db") for root in (work / "X", specimen / "database/X"))
    return None if found == wanted else f"runs and metrics {found}, not {wanted}"


KINDS = (
    Kind("hdf5", 150, ("hdf5",), _hdf5, _physical("data=hepattn", "data.source.path=hdf5")),
    Kind("parquet", 140, ("tracks",), _parquet, _physical(*PARQUET)),
    Kind("yaml", 150, ("conf", "X/cache"), _yaml),
    Kind("overrides", 150, (), _overrides),
    Kind("weights", 90, ("X",), _weights, _same_report),
    Kind("checkpoint", 70, ("checkpoint", "X/cache"), _checkpoint, _finite),
    Kind("runs", 170, ("X", "hdf5"), _runs),
    Kind("mlflow", 80, ("database",), _mlflow, _all_there),
)
"""All kinds; the shares are also about what a case of each costs."""
