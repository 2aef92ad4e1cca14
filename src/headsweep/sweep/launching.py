"""A process that hands workers to one of Hydra's launchers, and waits until they have ended.

The command of the sweep starts it with a ``Launch`` on its standard input. Hydra's launchers write
what they are given to disk or send it to other machines, so this process is told no secret; and
what they print goes to a log of its own.
"""

import json
import os
import signal
import sys
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hydra import initialize_config_search_path
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict

from headsweep.errors import UserError
from headsweep.sweep.attendant import Attendant
from headsweep.sweep.compose import load_sweep, open_loader
from headsweep.sweep.internals import launcher_context
from headsweep.sweep.order import FATAL
from headsweep.sweep.overrides import as_override

NEWLINE = "\n"

ENDED = 4
"""Exit code: the launcher refused, or a worker ended before its time."""


@dataclass(frozen=True)
class Launch:
    """A line of JSON on the standard input of this process.

    Attributes:
        overrides: Those of ``hydra.*`` and ``hydra/*`` on the command line.
        config_dir: The user's own folder of configuration, or None.
        sweeps: The chosen file of ``sweeps``, which may choose a launcher; or None.
        root: The folder of all output.
        name: Name of the sweep.
        first: Number of the first worker among all that the command has launched.
        count: Number of workers.
    """

    overrides: list[str]
    config_dir: str | None
    sweeps: str | None
    root: str
    name: str
    first: int
    count: int

    def to_json(self) -> str:
        """The launch as one line."""
        return json.dumps(asdict(self))


def main() -> None:
    """Launch the workers that standard input describes."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(ENDED))
    launch = Launch(**json.loads(sys.stdin.readline()))
    try:
        run(launch)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(FATAL)
    except Exception as error:
        print(error, f"error: {str(error).partition(NEWLINE)[0]}", sep=NEWLINE, file=sys.stderr)
        sys.exit(ENDED)


def run(launch: Launch) -> None:
    """Hand the workers to the launcher, and wait until all have ended.

    Raises:
        UserError: A worker could not work.
        Exception: Of the launcher, where it refused, or lost a worker.
    """
    given = _hydra(launch)
    config, loader = _plain(str(given.sweep.dir))
    context = launcher_context(loader)
    worker = Attendant(os.getcwd(), launch.root, launch.name)
    with open_dict(config):
        config.hydra.launcher, plain = given.launcher, config.hydra.launcher
    launcher = Plugins.instance().instantiate_launcher(context, worker, config)
    # On the other machine it composes this again, and compares.
    config.hydra.launcher = plain
    launcher.setup(hydra_context=context, task_function=worker, config=config)
    try:
        done = launcher.launch([[]] * launch.count, launch.first)
    except SystemExit:
        if (folder := given.launcher.get("submitit_folder")) is not None:
            _cancel(Path(folder).parent)
        raise
    for job in done:
        job.return_value  # noqa: B018  # raises what the worker has raised


def _hydra(launch: Launch) -> DictConfig:
    """The node ``hydra`` of the sweep, with its launcher resolved."""
    own = [as_override("root", launch.root), as_override("name", launch.name)]
    own += [] if launch.sweeps is None else [f"sweeps={launch.sweeps}"]
    with open_loader(launch.config_dir) as loader:
        node: DictConfig = load_sweep(loader, [*own, *launch.overrides]).master.hydra
    OmegaConf.resolve(node.launcher)
    return node


def _plain(folder: str) -> tuple[DictConfig, ConfigLoader]:
    """A configuration of Hydra for a sweep's folder with nothing of ours, and its loader.

    Launchers write both to disk, and compose the configuration again on the other machine, where
    our sources of files are not set up.
    """
    initialize_config_search_path(["pkg://hydra.conf"], job_name="headsweep")
    loader = GlobalHydra.instance().config_loader()
    overrides = [
        as_override("hydra.sweep.dir", os.path.abspath(folder)),
        *("hydra.sweep.subdir=logs", "hydra.output_subdir=null"),
        *("hydra/job_logging=none", "hydra/hydra_logging=none"),
    ]
    return loader.load_configuration(None, overrides, RunMode.MULTIRUN), loader


def _cancel(folder: Path) -> None:
    """Cancel the jobs of Slurm that have not ended, also those that still wait in its queue."""
    import submitit

    for path in folder.glob("*/*_submitted.pkl"):
        job: Any = submitit.SlurmJob(folder / "%j", path.name.removesuffix("_submitted.pkl"))
        if not job.paths.result_pickle.exists():
            with suppress(OSError):
                job.cancel(check=False)


if __name__ == "__main__":
    main()
