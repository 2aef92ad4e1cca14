"""Verbs of the command line: their help, and those that belong to no package alone."""

import json
import re
import shlex
from pathlib import Path

import pytest

from conftest import Command
from headsweep import __version__
from headsweep.commands import verbs
from headsweep.store import paths
from headsweep.store.runs import write_command
from headsweep.store.specification import claim_sweep
from headsweep.sweep.overrides import as_override, as_texts
from headsweep.sweep.plan import make_plan
from helpers.run_folders import make_job

pytestmark = pytest.mark.slow


def test_help_names_every_verb(command: Command) -> None:
    code, out, _ = command("--help")
    assert code == 0
    assert {"train", "report", "list", "ui"} <= {*verbs()}
    assert {*verbs()} <= {*out.split()}


ROOTS = ["a b", "it's", 'a"b', "a%20b?c#d", "größe", "a,b", "1e3", "$HOME", "a=b", "x\\", "[x]"]
"""Folders whose names mean something to a shell, to Hydra or in an address."""


@pytest.mark.parametrize("name", ROOTS)
def test_hints_find_every_root_when_pasted(name: str, command: Command, tmp_path: Path) -> None:
    root = tmp_path / name
    make_job(root / "sweeps/mine/jobs/0", finished=[0])
    hint = shlex.split(paths.command("list", root, "--json"))
    code, out, _ = command(*hint[1:])
    assert code == 0
    assert [row["name"] for row in json.loads(out)] == ["mine"]
    assert command("list", f"root={name}", "--json")[1] == out
    override = as_override("root", name)
    assert command("list", override, "--json")[1] == out  # as `train` shows it
    for given in (["--root", name], [f"--root={name}"], [override], [f"root={name}"]):
        if given != ["root=a,b"]:  # is a list, which is refused
            assert make_plan(as_texts(given), multirun=False).jobs[0].config.root == name


def test_an_empty_root_is_said_to_be_empty(command: Command, tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    assert command("list")[:2] == (0, "no sweep and no single run below runs\n")
    assert json.loads(command("list", "--json")[1]) == []


@pytest.mark.parametrize(
    "verb", [["list"], ["clean"], ["report", "x"], ["train"], ["data", "validate"]]
)
def test_a_root_without_a_folder_is_refused(verb: list[str], command: Command) -> None:
    for given in ("root=", "--root="):
        code, _, err = command(*verb, given)
        assert code == 2
        assert "the folder is missing" in err


def test_every_verb_with_output_takes_the_root_in_both_ways(
    command: Command, tmp_path: Path
) -> None:
    (tmp_path / "my root").mkdir()
    for verb in (["report", "x"], ["study", "x"], ["plan", "x"], ["sync", "x"], ["list"]):
        answers = [command(*verb, *root) for root in (["root=my root"], ["--root", "my root"])]
        assert answers[0] == answers[1]
        assert not verb[1:] or "my root" in answers[0][2]
    for verb in (["data", "validate"], ["data", "inspect"], ["backbone", "file"]):
        for root in (["root=my root"], ["--root", "my root"]):
            code, _, err = command(*verb, *root, "data=hepattn", "data.source.path=nowhere")
            assert code == 2
            assert "nowhere/metadata.yaml" in err


def test_a_folder_of_ones_own_is_taken_by_every_verb_with_overrides(
    command: Command, tmp_path: Path
) -> None:
    (tmp_path / "conf/data").mkdir(parents=True)
    own = "defaults: [tiny, _self_]\nsource: {events: 60}\n"
    (tmp_path / "conf/data/mine.yaml").write_text(own)
    arguments = ["--config-dir", "conf", "data=mine", "backbone=truth"]
    assert (
        command("data", "validate", *arguments)[1]
        == "valid: 60 events (36 train, 12 val, 12 dev)\n"
    )
    assert command("data", "inspect", *arguments)[1].startswith("60 events")


def test_the_version(command: Command) -> None:
    code, out, _ = command("--version")
    assert code == 0
    assert out.startswith(f"headsweep {__version__}")


@pytest.mark.parametrize("port", ["80000", "0", "-1", "http"])
def test_a_port_that_is_none(port: str, command: Command) -> None:
    code, _, err = command("ui", "--port", port)
    assert code == 2
    assert "--port" in err


def test_what_stands_is_not_overwritten(command: Command, tmp_path: Path) -> None:
    old = tmp_path / "old.file"
    old.write_text("precious")
    for words in (["predict", "nothing", "nowhere", "--out", "old.file"], ["backbone", "old.file"]):
        code, _, err = command(*words)
        assert code == 2
        assert "old.file exists; choose another file, or replace it with --force" in err
    code, _, err = command("predict", "nothing", "nowhere", "--out", "old.file", "--force")
    assert "exists" not in err
    assert old.read_text() == "precious"


def test_help_of_train_is_that_of_hydra(command: Command) -> None:
    code, out, _ = command("train", "--help")
    assert code == 0
    for group in ("head", "sweeps"):
        assert re.search(rf"^{group}: .*\w", out, re.MULTILINE)


def test_params_are_the_true_ones(command: Command) -> None:
    code, out, _ = command("params", "--json")
    assert code == 0
    keys = ("raw_projection", "encoded_projection", "head", "total", "aggregated_dim")
    counts = {name: tuple(row[key] for key in keys) for name, row in json.loads(out).items()}
    assert counts == {
        "before": (384, 528, 644, 1_556, 160),
        "conservative": (768, 1_056, 63_652, 65_476, 288),
        "more_capacity": (768, 1_056, 208_132, 209_956, 288),
        "simpler": (768, 1_056, 28_324, 30_148, 288),
        "direct_projection": (768, 1_056, 1_156, 2_980, 288),
        # The real classes of hepattn, counted on them.
        "hepattn before": (2_960, 5_264, 104_324, 112_548, 160),
        "hepattn after": (3_712, 6_304, 63_652, 73_668, 288),
    }
    assert "63,652" in command("params")[1]


def test_data_verbs(command: Command, tmp_path: Path) -> None:
    code, out, _ = command("data", "simulate", "sample", "--events", "30", "--seed", "4")
    assert code == 0
    use = ["data=hepattn", "data.source.path=sample"]
    assert " ".join(use) in out
    assert command("data", "simulate", "sample")[0] == 2
    assert "valid: 30 events" in command("data", "validate", *use)[1]
    code, out, _ = command("data", "inspect", *use)
    assert code == 0
    assert "30 events" in out
    assert "hit features (23): globEdgeHighX" in out


def test_sweeps_and_runs_are_listed_with_their_state(command: Command, tmp_path: Path) -> None:
    sweep = tmp_path / "runs/sweeps/mine"
    make_job(sweep / "jobs/0", finished=[0], failed=[1])
    make_job(sweep / "jobs/1", finished=[0])
    claim_sweep(sweep, {"seeds": 2})
    write_command(sweep, "headsweep train sweeps=dropout name=mine")
    overrides = ["head=simpler", "pooling.statistics=[avg]"]
    make_job(tmp_path / "runs/runs/0f3a", overrides=overrides, finished=[0], seeds=1)
    code, out, _ = command("list", "--json")
    assert code == 0
    keys = ("kind", "name", "jobs", "jobs_finished", "finished", "failed")
    rows = json.loads(out)
    assert [tuple(row[key] for key in keys) for row in rows] == [
        ("sweep", "mine", 2, 1, 2, 1),
        ("run", "0f3a", 1, 1, 1, 0),
    ]
    assert rows[0]["about"].startswith("how much dropout does")
    lines = command("list")[1].splitlines()
    assert lines[1].split()[:6] == ["mine", "1", "of", "2", "2", "1"]
    assert lines[-1] == "mine: job 0: loss is NaN at step 70"
    assert lines[-2].split()[:6] == ["0f3a", "1", "of", "1", "1", "0"]
    assert lines[-2].rstrip().endswith("head=simpler 'pooling.statistics=[avg]'")


def test_a_sweep_is_removed_by_its_name_alone(command: Command, tmp_path: Path) -> None:
    for name in ("old", "new"):
        make_job(tmp_path / "runs/sweeps" / name / "jobs/0", finished=[0])
    assert command("clean") == (0, "freed 0 B\n", "")
    code, _, err = command("clean", "--sweep", "old")  # nobody can be asked
    assert code == 2
    assert "runs/sweeps/old: 1 jobs, 1 results" in err
    assert "--yes" in err
    code, out, _ = command("clean", "--sweep", "old", "--yes")
    assert (code, out.startswith("freed ")) == (0, True)
    assert [path.name for path in (tmp_path / "runs/sweeps").iterdir()] == ["new"]
