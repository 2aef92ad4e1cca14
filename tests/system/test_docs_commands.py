"""Every command of README.md runs, at smoke size."""

import logging
import re
import shlex
import shutil
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hydra.core.global_hydra import GlobalHydra

from headsweep import cli
from headsweep.config import config_root
from headsweep.events import spectrometer as events_spectrometer
from headsweep.events.hepattn_files import write_hepattn
from headsweep.events.simulation import simulate_chunks
from headsweep.sweep import worker
from headsweep.sweep.worker_pool import WorkerPool

Command = Callable[..., tuple[int, str, str]]

README = (config_root() / "README.md").read_text()
SMALL = ["optim.steps=2", "optim.batch_size=16", "workers=1"]
TINY = ["data=tiny", "data.source.events=60", "backbone=truth"]
STARTS_A_SERVER = {"headsweep ui"}
"""Run for real by tests/store/tracking/test_server.py."""


def commands() -> list[str]:
    """What stands in code blocks and between backticks."""
    blocks = re.findall(r"```bash\n(.*?)```", README, flags=re.S)
    lines = [line.split("#")[0].strip() for block in blocks for line in block.splitlines()]
    inline = re.findall(r"`(headsweep [^`]+)`", re.sub(r"\s+", " ", README))
    found = [line for line in (*lines, *inline) if line.startswith("headsweep ")]
    return sorted(set(found) - STARTS_A_SERVER)


def test_there_are_commands() -> None:
    assert len(commands()) > 20
    assert {"make ablation", "make test"} <= set(README.splitlines())


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the README calls FOLDER and CSV_FOLDER, for each kind of data."""
    root = tmp_path_factory.mktemp("folders")
    (root / "hepattn").mkdir()
    write_hepattn(root / "hepattn", simulate_chunks(60, 5))
    csv = root / "csv"
    csv.mkdir()
    rng = np.random.default_rng(0)
    n = 120
    particles = pd.DataFrame({"event_id": np.arange(n) // 2, "particle_id": np.arange(n) + 1})
    particles["q"] = rng.choice([-1, 1], n)
    particles[["px", "py", "pz"]] = rng.normal(size=(n, 3))
    particles.to_csv(csv / "particles.csv", index=False)
    hits = particles.loc[particles.index.repeat(9), ["event_id", "particle_id"]]
    hits[["tx", "ty", "tz"]] = rng.normal(size=(9 * n, 3)) * 100
    hits["tt"] = np.hypot(np.hypot(hits["tx"], hits["ty"]), hits["tz"]) / 299.8
    hits["geometry_id"] = 1
    hits.to_csv(csv / "hits.csv", index=False)
    return root


PREPARED = {
    "sweeps=presets": ["seeds=2", "tracking=false"],
    "sweeps=optuna": ["hydra.sweeper.n_trials=3", "seeds=1"],
    "sweeps=confirm study=optuna top=3": ["seeds=2", "tracking=false"],
}
"""Sweeps of the README whose runs other commands read, the search with MLflow: trained once."""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runs of all these sweeps, by the README's commands at smoke size."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("HYDRA_FULL_ERROR", "1")
        for line, small in PREPARED.items():
            words = ["headsweep", "train", *line.split(), *small, *SMALL, *TINY]
            patch.setattr(sys, "argv", words)
            with pytest.raises(SystemExit) as caught:
                cli.main()
            assert not caught.value.code
    logging.disable(logging.NOTSET)
    return folder / "runs"


@pytest.fixture
def here(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs are trained in this process, without the seconds that a worker takes to start.

    Those of ``trained`` have workers, as those of tests/sweep/test_runner.py.
    """

    def run(pool: WorkerPool) -> None:
        hydra = GlobalHydra.instance()
        command = hydra.hydra
        hydra.clear()  # a process has one, and here it is the worker's for a while
        try:
            worker.work(pool.order, threading.Event())
        finally:
            hydra.hydra = command

    monkeypatch.setattr(WorkerPool, "run", run)


@pytest.mark.parametrize("line", commands())
@pytest.mark.usefixtures("here")
def test_a_command_of_the_readme(
    line: str,
    command: Command,
    folders: Path,
    trained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from headsweep.events.acts_csv import convert

    words = [w.replace("CSV_FOLDER", str(folders / "csv")) for w in shlex.split(line)[1:]]
    if "simulate" in words:
        words = [w.replace("FOLDER", str(tmp_path / "simulated")) for w in words]
    elif "convert-acts" in words:
        words = [w.replace("FOLDER", str(tmp_path / "acts")) for w in words]
    elif "data=acts" in words or "sweeps=acts" in words:
        convert(folders / "csv", tmp_path / "acts")
        words = [w.replace("FOLDER", str(tmp_path / "acts")) for w in words]
    words = [w.replace("FOLDER", str(folders / "hepattn")) for w in words]
    again = PREPARED.get(" ".join(words[1:]))
    own_data = any(w.startswith("data=") for w in words)
    match words[0]:
        case "train" if again is not None:  # it has been run, and finds that all is done
            shutil.copytree(trained, tmp_path / "runs")
            words += [*again, *SMALL, *TINY]
        case "train":
            if "--cfg" not in words and "install=bash" not in words:
                words = [w for w in words if not w.startswith("optim.steps=")]
                # An arm without raw hits needs encoded ones.
                tiny = TINY[:2] if "sweeps=leave_one_out" in words else TINY
                words += [*SMALL, "tracking=false", *([] if own_data else tiny)]
            searches = [w.startswith("hydra.sweeper.n_trials=") for w in words]
            if "sweeps=optuna" in words or any(searches):
                words = [w for w, length in zip(words, searches, strict=True) if not length]
                words += ["hydra.sweeper.n_trials=2", "seeds=1"]
            elif any(w.startswith("sweeps=") for w in words):
                words.append("seeds=2")
        case "data" if "inspect" in words and not own_data:
            words += TINY[:2]
        case "backbone":
            words += ["--steps", "2"]
        case "report" if "confirm" in words:
            monkeypatch.setattr(events_spectrometer, "TEST_EVENTS", 100)
            shutil.copytree(trained, tmp_path / "runs")
        case "list" | "clean" | "study" | "sync" | "report" | "predict" | "plan":
            shutil.copytree(trained, tmp_path / "runs")
    code, out, err = command(*words)
    assert code == 0, err
    if again is not None:
        assert re.search(r"(\d+) of \1 \w+ are done, \1 (of them )?were there before", out)
