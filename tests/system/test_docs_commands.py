"""Every command, Python block and error message of README and documentation runs, at smoke size."""

import re
import shlex
import shutil
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from headsweep.events import spectrometer as events_spectrometer
from headsweep.events.acts_csv import convert
from headsweep.events.hepattn_files import write_hepattn
from headsweep.events.simulation import simulate_chunks
from headsweep.report.results import SweepResults
from helpers import documents
from helpers.command import Command, run_here, work_here
from helpers.frozen import write_folder

pytestmark = pytest.mark.slow

SMALL = ["optim.steps=2", "optim.batch_size=16", "workers=1", "rates=tuned"]
TINY = ["data=tiny", "data.source.events=60", "backbone=truth"]

ELSEWHERE = {
    "make ablation": "a fresh clone, before each release",
    "make test": "this suite",
    "headsweep ui": "tests/store/tracking/test_server.py",
    "make killmatrix": "a part of it in tests/system/test_kills.py",
}
"""Commands that are not run here, and where they are."""

DEFEND = "docs/how-to/defend.md"
"""Its commands need those before them: tests/system/test_docs_defend.py."""

LOG = "docs/log.md"
"""Its commands are composed and checked, but train nothing."""

PREPARED = {
    "train sweeps=presets": ["seeds=2", "tracking=false"],
    "train sweeps=search": ["hydra.sweeper.n_trials=3", "seeds=1"],
    "train sweeps=confirm study=search top=3": ["seeds=2", "tracking=false"],
    "train sweeps=search name=wider head.dropout=interval(0.0,0.6) take=search "
    "hydra.sweeper.n_trials=100": ["hydra.sweeper.n_trials=4", "seeds=1", "tracking=false"],
    "train sweeps=claims": ["seeds=2", "tracking=false"],
    "train --config-dir my_conf sweeps=narrow": ["seeds=2", "tracking=false"],
}
"""Sweeps whose runs other commands read, the search with MLflow: trained once."""


def lines() -> dict[str, set[str]]:
    """Every command of the documentation, with the pages that have it."""
    found: dict[str, set[str]] = {}
    for page, text in documents.pages().items():
        for line in documents.commands(text):
            found.setdefault(line, set()).add(page)
    return found


ELSEWHERE |= {
    line: "tests/system/test_launchers.py, tests/sweep/test_launched.py"
    for line in lines()
    if ("hydra/launcher=" in line and "--cfg" not in line) or "workers=0" in line
}
ELSEWHERE |= {
    "condor_submit workers.sub": "tests/sweep/test_launched.py reads the file",
    "headsweep worker NAME": "tests/sweep/test_launched.py",
}


def test_every_command_is_run_somewhere() -> None:
    assert len(lines()) > 60
    unknown = [line for line in lines() if not re.match(r"(PYTHONPATH=\w+ )?headsweep ", line)]
    assert set(unknown) <= set(ELSEWHERE)
    readme = documents.commands(documents.pages()["README.md"])
    assert {"make ablation", "make test"} <= set(readme)


def write_all_files(folder: Path) -> None:
    """Write the files of ``my_conf`` and ``my_code`` that the pages show."""
    for text in documents.pages().values():
        documents.write_files(text, folder)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the pages call FOLDER and CSV_FOLDER, for each kind of data."""
    root = tmp_path_factory.mktemp("folders")
    write_folder(root / "frozen", events=60)
    (root / "hepattn").mkdir()
    write_hepattn(root / "hepattn", simulate_chunks(60, 5))
    for seed, name in enumerate(("TRAIN", "VAL", "TEST"), start=6):
        (root / name).mkdir()
        write_hepattn(root / name, simulate_chunks(60, seed))
    csv = root / "csv"
    csv.mkdir()
    # Arcs in a solenoid of 2 T, from the origin to nine layers.
    rng = np.random.default_rng(0)
    n, layers = 120, np.linspace(100, 1000, 9)
    pt, phi, eta = rng.uniform(1, 20, n), rng.uniform(-np.pi, np.pi, n), rng.uniform(-2, 2, n)
    particles = pd.DataFrame({"event_id": np.arange(n) // 2, "particle_id": np.arange(n) + 1})
    particles["q"] = rng.choice([-1, 1], n)
    particles["px"], particles["py"] = pt * np.cos(phi), pt * np.sin(phi)
    particles["pz"] = pt * np.sinh(eta)
    particles.to_csv(csv / "particles.csv", index=False)
    hits = particles.loc[particles.index.repeat(9), ["event_id", "particle_id"]]
    radius = 1000 * pt[:, None] / (0.3 * 2)
    half = np.arcsin(layers / (2 * radius))
    angle = phi[:, None] - particles["q"].to_numpy()[:, None] * half
    hits["tx"], hits["ty"] = (layers * np.cos(angle)).ravel(), (layers * np.sin(angle)).ravel()
    hits["tz"] = (2 * radius * half * np.sinh(eta)[:, None]).ravel()
    hits["tt"] = np.hypot(np.hypot(hits["tx"], hits["ty"]), hits["tz"]) / 299.8
    hits["geometry_id"] = 1
    hits.to_csv(csv / "hits.csv", index=False)
    convert(csv, root / "tracks")
    return root


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runs of all prepared sweeps, by the documented commands at smoke size."""
    folder = tmp_path_factory.mktemp("trained")
    write_all_files(folder)
    for line, small in PREPARED.items():
        run_here(folder, *line.split(), *small, *SMALL, *TINY)
    return folder / "runs"


@pytest.fixture
def here(tmp_path: Path, trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with the files that the pages show, and commands that train in this process."""
    work_here(monkeypatch)
    monkeypatch.setattr(events_spectrometer, "TEST_EVENTS", 100)
    write_all_files(tmp_path)


def smaller_training(words: list[str]) -> list[str]:
    """The words of a ``train`` command, so that it trains for a moment on a few events."""
    line = " ".join(words)
    if "--cfg" in words:
        return words
    search = {"sweeps=search", "sweeps=recommended_search"} & {*words} or "n_trials=" in line
    given = ("optim.steps=", "hydra.sweeper.n_trials=")
    words = [w for w in words if not w.startswith(given)] + [*SMALL, "tracking=false"]
    words = [re.sub(r"^([\w.]+=[\w.]+,[\w.]+),.*", r"\1", w) for w in words]  # two values of a key
    if "data=" not in line:
        # An arm without raw hits needs encoded ones.
        words += TINY[:2] if "sweeps=leave_one_out" in words else TINY
        calibrates = ".analytic=" in line or "sweeps=recommended" in words
        words += ["data.source.events=700"] if calibrates else []
    elif "data=acts" in words and "data.split.folds=null" not in words:
        words += ["data.split.folds=2", "data.repeats=1"] if "sweeps=" in line else []
    if "sweeps=arm_rates" in words and "arm=" not in line:
        words.append("arm=baseline,no_layernorm")
    if "sweeps=preset_rates" in words:
        words.append("optim.lr=0.01,0.02")
    if "seeds=auto" in words:
        return [*words, "looks.every=2", "looks.most=2"]
    if search:
        return [*words, "hydra.sweeper.n_trials=2", "seeds=1"]
    return [*words, "seeds=2"] if "sweeps=" in line else words


LARGER = ("seeds=", "seed=", "optim.steps=", "hydra.sweeper.n_trials=", "workers=", "name=")
"""Words of a command that here make no other training of it."""


def small(line: str) -> tuple[str, ...]:
    """What is left of a command here."""
    return tuple(word for word in line.split() if not word.startswith(LARGER))


LINES = {
    line: pages
    for line, pages in sorted(lines().items())
    if line not in ELSEWHERE and pages != {DEFEND}
}
FIRST = {small(line): line for line in reversed(LINES)}
"""Of the commands that are the same training here, the one that trains; others are composed."""


@pytest.mark.parametrize("line", LINES)
@pytest.mark.usefixtures("here")
def test_a_command(
    line: str,
    command: Command,
    folders: Path,
    trained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words = shlex.split(line)
    if words[0] == "PYTHONPATH=my_code":
        monkeypatch.syspath_prepend(tmp_path / words.pop(0).partition("=")[2])
    words = [w.replace("CSV_FOLDER", str(folders / "csv")) for w in words[1:]]
    written = "simulate" in words or "convert-acts" in words
    tracks = "data=acts" in words or "data=mine" in words
    kind = "frozen" if "data=frozen" in words else "tracks" if tracks else "hepattn"
    data = tmp_path / "written" if written else folders / kind
    words = [w.replace("FOLDER", str(data)) for w in words]
    words = [re.sub("=(TRAIN|VAL|TEST)$", rf"={folders}/\1", w) for w in words]
    again = PREPARED.get(" ".join(words))
    composed = LINES[line] == {LOG} or FIRST[small(line)] != line
    match words[0]:
        case "train" if composed and again is None:
            words = [*smaller_training(words), *({"--dry-run"} - {*words})]
        case "train" if again is not None:  # it has been run, and finds that all is done
            shutil.copytree(trained, tmp_path / "runs")
            words += [*again, *SMALL, *TINY]
        case "train":
            if "head=theirs" in words:  # the page saves it with the command before
                saved = ("--save", "my_conf/head/theirs.yaml")
                assert command("import", "my_conf/tasks.yaml", *saved)[0] == 0
            if any(w.startswith("study=") for w in words):
                shutil.copytree(trained, tmp_path / "runs")
            words = smaller_training(words)
        case "data" if "inspect" in words and "data=" not in line:
            words += TINY[:2]
        case "why":
            shutil.copytree(trained, tmp_path / "runs")
            words += ["seeds=2", "tracking=false"]
        case "backbone":
            words = [w for w in words if not w.startswith("data.source.events=")]
            words += ["--steps", "2", *([] if "data=" in line else TINY[:2])]
        case (
            "list" | "clean" | "study" | "sync" | "report" | "predict" | "plan" | "export" | "diff"
        ):
            shutil.copytree(trained, tmp_path / "runs")
            if words[0] == "report" and "search" not in words:  # no copy of it, by a process
                (tmp_path / "runs/mlflow.db").unlink()
    code, out, err = command(*words)
    assert code == 0, err
    if again is not None:
        assert re.search(r"(\d+) of \1 \w+ are done, \1 (of them )?were there before", out)


def sessions() -> list[tuple[str, list[str]]]:
    """Every command of the documentation whose output stands below it."""
    return [found for text in documents.pages().values() for found in documents.sessions(text)]


@pytest.mark.parametrize(("line", "printed"), sessions())
@pytest.mark.usefixtures("here")
def test_a_message(
    line: str, printed: list[str], command: Command, trained: Path, tmp_path: Path
) -> None:
    shutil.copytree(trained, tmp_path / "runs")
    words = shlex.split(line)[1:]
    if "sweeps=presets" in words:
        words += [*SMALL[1:], *TINY, "seeds=2", "tracking=false"]
    code, out, err = command(*words)
    assert code != 0
    found = " ".join((out + err).split())
    for expected in printed:
        assert " ".join(expected.split()) in found


def test_the_python_page_has_the_whole_interface() -> None:
    page = documents.pages()["docs/how-to/python.md"]
    public = {name for name in vars(SweepResults) if not name.startswith("_")}
    assert {name for name in public if f"`sweep.{name}" not in page} == {"name"}


def test_the_python_page(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(trained, tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    page = documents.pages()["docs/how-to/python.md"]
    space: dict[str, object] = {}
    for block in documents.blocks("python", page):
        exec(block, space)
    plt.close("all")
    assert (tmp_path / "r68.png").stat().st_size > 0
