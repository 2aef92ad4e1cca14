"""Hydra's application: it serves `--cfg`, `--help` and multiruns."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from headsweep.config import config_root, register
from headsweep.errors import UserError
from headsweep.sweep.job import run_job

if TYPE_CHECKING:
    pass


register()


@hydra.main(config_path=str(config_root() / "conf"), config_name="config")
def main(cfg: DictConfig) -> float:
    """Hydra's task: validate the configuration and run it."""
    from headsweep.sweep.plan import validate

    context = HydraConfig.get()
    job = validate(cfg, context.runtime.choices, context.overrides.task)
    in_sweep = context.mode == hydra.types.RunMode.MULTIRUN
    return run_job(job, Path(context.runtime.output_dir) if in_sweep else None)


def start(argv: Sequence[str]) -> None:
    """Hand a command line to Hydra.

    Raises:
        UserError: The configuration cannot be composed.
    """
    sys.argv[1:] = argv
    # Otherwise Hydra prints every error itself, with a traceback, and exits.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        main()
    except (HydraException, OmegaConfBaseException, YAMLError) as error:
        from headsweep.sweep.overrides import short_message

        raise UserError(short_message(error)) from error
