"""What a launcher is given: the launcher of the command line, and nothing else of the command."""

import json
import subprocess
import sys
from pathlib import Path

import cloudpickle
import pytest
from hydra.core.global_hydra import GlobalHydra

from headsweep.sweep.attendant import Attendant
from headsweep.sweep.launching import ENDED, Launch, _hydra, _plain

pytestmark = pytest.mark.slow

LAUNCH = Launch(
    ["hydra/launcher=submitit_slurm", "hydra.launcher.partition=gpu"], None, None, "runs", "s", 0, 2
)


def test_a_launcher_gets_its_own_keys_and_none_of_ours(tmp_path: Path) -> None:
    given = _hydra(LAUNCH)
    assert given.launcher.partition == "gpu"
    assert given.launcher.submitit_folder == "runs/sweeps/s/.submitit/%j"
    try:
        config, loader = _plain(str(tmp_path))
        sent = cloudpickle.dumps((config, loader, Attendant("cwd", "runs", "s")))
        assert b"optim" not in sent
        # What the launcher does on the other machine.
        again = loader.load_sweep_config(config, [])
        assert (again.hydra.sweep.dir, again.hydra.sweep.subdir) == (str(tmp_path), "logs")
    finally:
        GlobalHydra.instance().clear()


def test_a_launcher_that_refuses_is_one_line(tmp_path: Path) -> None:
    assert Launch(**json.loads(LAUNCH.to_json())) == LAUNCH
    run = subprocess.run(
        [sys.executable, "-m", "headsweep.sweep.launching"],
        input=LAUNCH.to_json(),
        cwd=tmp_path,
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == ENDED, run.stderr
    last = run.stderr.splitlines()[-1]
    assert last.startswith('error: Could not detect "srun"')
