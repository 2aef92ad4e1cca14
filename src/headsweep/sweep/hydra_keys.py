"""Keys of Hydra's own node ``hydra``: those without effect here are refused by name.

Only ``hydra.sweeper`` and ``hydra.launcher`` have one. What else Hydra offers is done in another
way, or not at all: a key that is taken and does nothing would mislead.
"""

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

from headsweep.errors import UserError

_OUTPUT = "output is below root=FOLDER, that of a sweep under name=NAME"
_ENVIRONMENT = "set variables before the command: NAME=VALUE headsweep train .."
_LOGS = "messages go to stderr, those of workers into logs/ of the sweep; --debug adds tracebacks"
_OF_LAUNCHERS = (
    "those that do are submitit_slurm, submitit_local and ray; without one a sweep runs in "
    "workers=N local processes"
)
_OF_HYDRA = "it describes Hydra itself"
_SILENT = {"version": 1, "root": None, "disable_existing_loggers": False}

STANDARD: Mapping[str, tuple[Any, str]] = {
    "run": ({"dir": "${root}"}, _OUTPUT),
    "sweep": ({"dir": "${root}/sweeps/${name}", "subdir": "jobs/${hydra:job.num}"}, _OUTPUT),
    "output_subdir": (None, "the folder of each job has its config.yaml"),
    "job.chdir": (
        False,
        "paths are relative to the folder where the command is started, and it is never changed",
    ),
    "job.name": ("headsweep", "a sweep is named with name=NAME"),
    "job.env_set": ({}, _ENVIRONMENT),
    "job.env_copy": ([], _ENVIRONMENT),
    "hydra_logging": (_SILENT, _LOGS),
    "job_logging": (_SILENT, _LOGS),
    "verbose": (False, _LOGS),
    "callbacks": ({}, "nothing is called back; results are in the run folders and in MLflow"),
    "searchpath": ([], "configuration of your own is added with --config-dir FOLDER"),
    "mode": (None, "use -m for a sweep"),
}
"""Keys below ``hydra`` without effect: the value that they have here, and what to use instead."""


LAUNCHERS: Mapping[str, tuple[str, str | None]] = {
    "basic": ("hydra._internal.core_plugins.basic_launcher.BasicLauncher", None),
    "submitit_local": (
        "hydra_plugins.hydra_submitit_launcher.submitit_launcher.LocalLauncher",
        "slurm",
    ),
    "submitit_slurm": (
        "hydra_plugins.hydra_submitit_launcher.submitit_launcher.SlurmLauncher",
        "slurm",
    ),
    "ray": ("hydra_plugins.hydra_ray_launcher.ray_launcher.RayLauncher", "ray"),
}
"""Launchers that start workers: the class, and the extra of headsweep that installs it."""

SWEEPER = "hydra_plugins.headsweep.sweeper.HeadsweepSweeper"
"""Our sweeper; with another one Hydra trains the jobs itself."""


def check_override(key: str, line: str) -> None:
    """Refuse an override of a key of Hydra that has no effect.

    Args:
        key: Its key or group.
        line: The override as the user gave it.

    Raises:
        UserError: It has none; the message says what to use instead.
    """
    path = key.replace("/", ".")
    if path.partition(".")[0] != "hydra" or f"{path}.".startswith("hydra.sweeper."):
        return
    if f"{path}.".startswith("hydra.launcher."):
        if key == "hydra/launcher":
            _check_launcher(line)
        return
    known = (i for name, (_, i) in STANDARD.items() if f"{path}.".startswith(f"hydra.{name}."))
    raise UserError(f"{line}: has no effect; {next(known, _OF_HYDRA)}")


def _check_launcher(line: str) -> None:
    """Refuse a launcher that starts no workers, or is not installed."""
    name = line.partition("=")[2].strip("'\"")
    if name not in LAUNCHERS:
        raise UserError(f"{line}: starts no workers; {_OF_LAUNCHERS}")
    target, extra = LAUNCHERS[name]
    if extra is not None and find_spec(".".join(target.split(".")[:2])) is None:
        raise UserError(f"{line}: is not installed; pip install 'headsweep[{extra}]'")


def check_hydra(node: Mapping[str, Any], mode: str) -> None:
    """Refuse keys of the composed node ``hydra`` that a file of the configuration has changed.

    Args:
        node: The node as it is written, without interpolations resolved.
        mode: What the command line runs, ``RUN`` or ``MULTIRUN``.

    Raises:
        UserError: A key has a value without effect; the message says what to use instead.
    """
    for name, (standard, instead) in STANDARD.items():
        value: Any = node
        for part in name.split("."):
            value = value[part]
        value = getattr(value, "name", value)  # of a mode
        if value not in (standard, mode):
            raise UserError(f"hydra.{name}={value} in a file: has no effect; {instead}")
    launcher = node["launcher"]["_target_"]
    if launcher not in (target for target, _ in LAUNCHERS.values()):
        raise UserError(f"hydra.launcher._target_={launcher}: starts no workers; {_OF_LAUNCHERS}")
    if launcher != LAUNCHERS["basic"][0] and node["sweeper"]["_target_"] != SWEEPER:
        raise UserError("hydra/launcher: is for hydra/sweeper=headsweep, whose workers it starts")
