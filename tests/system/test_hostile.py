"""Hostile files run nothing, secrets are kept nowhere, and outputs may be full or closed."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from headsweep import open_sweep
from headsweep.errors import UserError
from headsweep.files import write_sealed
from headsweep.instantiate import BUILT
from headsweep.store import paths, runs
from helpers.command import SMALL, Command, run_here

PWNED = "pwned"
EVIL = {"_target_": "os.system", "command": f"touch {PWNED}"}
"""A node that would leave a file; other ones are refused by ``instantiate`` alike."""

PLACES = (
    *("data.source", "backbone", "head", "target", "optim", "pooling", "features"),
    *("loss", "loss.weights"),
)


TRAINED = ["-m", "head=simpler,conservative", *SMALL, "seeds=2", "name=g"]
"""Overrides of the sweep that run folders are of."""


def with_node(place: str, node: Any) -> dict[str, Any]:
    """Nested mapping that has a node at a dotted place."""
    for part in reversed(place.split(".")):
        node = {part: node}
    return dict(node)


@pytest.mark.slow
@pytest.mark.parametrize("place", [*PLACES, "data", "evil"])
def test_no_code_of_a_file_of_the_users_runs(place: str, command: Command, tmp_path: Path) -> None:
    (tmp_path / "conf/arm").mkdir(parents=True)
    text = f"# @package _global_\n{yaml.safe_dump(with_node(place, EVIL))}"
    (tmp_path / "conf/arm/evil.yaml").write_text(text)
    code, _, err = command("train", *SMALL, "--config-dir", "conf", "arm=evil")
    assert (code, "error: " in err, "Traceback" in err) == (2, True, False), err
    assert [path.name for path in tmp_path.iterdir()] == ["conf"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with a small trained sweep ``g``."""
    folder = tmp_path_factory.mktemp("trained")
    run_here(folder, "train", *TRAINED)
    return folder / "runs"


@pytest.fixture
def foreign(trained: Path, tmp_path: Path) -> Path:
    """A copy of it in the current folder."""
    return Path(shutil.copytree(trained, tmp_path / "runs"))


def change_config(root: Path, place: str, node: Any) -> None:
    """Set a node in the configuration of every job, with checksums that are right."""
    for job in (root / "sweeps/g/jobs").iterdir():
        about = runs.read_job(job)
        assert about is not None
        config = runs.read_config(job)
        *parents, last = place.split(".")
        where = config
        for part in parents:
            where = where[part]
        where[last] = node
        write_sealed(job / paths.CONFIG, config, bound=about["job_key"])


@pytest.mark.slow
@pytest.mark.parametrize("place", [*BUILT, "optim", "target", "loss"])
def test_no_code_of_a_run_folder_runs(
    place: str, foreign: Path, command: Command, tmp_path: Path
) -> None:
    assert command("data", "simulate", "new", "--events", "20")[0] == 0
    change_config(foreign, place, EVIL)
    named = EVIL["_target_"] if place in BUILT else f"config.yaml: {place}._target_: no such key"
    for words in (["predict", "g/jobs/0", "new"], ["report", "g"], ["export", "g/jobs/0", "out"]):
        code, _, err = command(*words)
        assert "Traceback" not in err, (words, err)
        assert not (tmp_path / PWNED).exists(), words
        if words[0] != "export":  # which builds nothing but the head
            assert (code, named in err) == (2, True), (words, err)
    with pytest.raises(UserError, match=re.escape(named)):
        open_sweep("g", foreign).verdicts()
    assert not (tmp_path / PWNED).exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("place", "value"), [("optim.steps", "many"), ("pooling.width", 3), ("data.split", [1])]
)
def test_a_wrong_value_in_a_run_folder_is_one_line_whoever_sealed_it(
    foreign: Path, command: Command, place: str, value: object
) -> None:
    change_config(foreign, place, value)
    for words in (["report", "g"], ["predict", "g/jobs/0", "new"], ["plan", "g"]):
        code, _, err = command(*words)
        assert (code, "this is a fault" in err) == (2, False), (words, err)
        assert f"config.yaml: {place}" in err, (words, err)


SEARCHED = [*SMALL, "-m", "head.dropout=interval(0,0.3)", "hydra.sweeper.n_trials=1", "seeds=1"]
NODES = {"sampler": {"_target_": "os.system"}, "storage": EVIL, "params": EVIL, "direction": EVIL}


@pytest.mark.slow
@pytest.mark.parametrize("sweeper", ["headsweep", "optuna"])
def test_no_code_runs_from_the_nodes_of_a_sweeper(
    sweeper: str, command: Command, tmp_path: Path
) -> None:
    (tmp_path / "conf/sweeps").mkdir(parents=True)
    for node, evil in NODES.items():
        text = yaml.safe_dump({"hydra": {"sweeper": {node: evil}}})
        (tmp_path / "conf/sweeps/evil.yaml").write_text(f"# @package _global_\n{text}")
        words = ["--config-dir", "conf", "sweeps=evil", f"hydra/sweeper={sweeper}", "root=out"]
        code, _, err = command("train", *SEARCHED, *words)
        assert (code, "error: " in err, "Traceback" in err) == (2, True, False), (node, err)
        assert not list(tmp_path.rglob(PWNED)), node


SECRET = "s3cr3t-of-mine"


@pytest.mark.slow
def test_no_secret_is_in_any_byte_that_is_kept_or_printed(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that refuses, a local MLflow, a search in a database, and the environment."""
    for name in ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, SECRET)
    monkeypatch.setenv("STORAGE", f"sqlite:///file:{tmp_path}/s.db?uri=true&password={SECRET}")
    address = f"tracking_uri=http://me:{SECRET}@127.0.0.1:9/?token={SECRET}"
    storage = "hydra.sweeper.storage=${oc.env:STORAGE}"
    for words in (
        ["train", *SMALL, "tracking=true", address],
        ["train", *SEARCHED, "tracking=true", storage, "name=kept"],
        ["report", "kept"],
    ):
        code, out, err = command(*words)
        assert code == 0, err
        assert SECRET not in out + err, (words, err)
    assert (tmp_path / "runs/mlflow.db").is_file()
    found = [
        path
        for path in tmp_path.rglob("*")
        if path.is_file() and SECRET.encode() in path.read_bytes()
    ]
    assert not found
    assert not [path for path in tmp_path.rglob("*") if SECRET in path.name]


FULL = "error: the disk is full; free some space, or choose another root\n"
OUTPUTS = {">/dev/full": (2, FULL), ">&-": (0, ""), "<&- >/dev/null": (0, "")}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("verb", "where"),
    [
        *(("list --root .", where) for where in OUTPUTS),
        # Closed ones are opened again before any verb runs.
        *((verb, ">/dev/full") for verb in ("params", "data inspect data=tiny")),
    ],
)
def test_an_output_that_is_full_or_closed(verb: str, where: str, tmp_path: Path) -> None:
    program = f"{sys.executable} -c 'import sys; from headsweep.cli import main; sys.exit(main())'"
    done = subprocess.run(
        ["sh", "-c", f"{program} {verb} {where}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    said = done.stderr.rpartition("%\n")[2]  # behind the display
    assert (done.returncode, said) == OUTPUTS[where], done.stderr
