"""Hydra's application: it serves ``--cfg``, ``--help`` and multiruns."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from headsweep.config import config_root, register
from headsweep.errors import UserError

register()


OF_OPTUNA = (
    *(f"optuna.samplers.{name}Sampler" for name in ("TPE", "Random", "CmaEs", "GP", "QMC")),
    *(f"optuna.samplers.{name}Sampler" for name in ("BruteForce", "Grid", "NSGAII", "NSGAIII")),
    *(f"hydra_plugins.hydra_optuna_sweeper._impl.create_nsga{n}_sampler" for n in ("ii", "iii")),
)
"""All that Hydra may build from a configuration, beside its plugins: samplers of ``optuna``."""


@hydra.main(
    config_path=str(config_root() / "conf"),
    config_name="config",
    execution_whitelist=OF_OPTUNA,
)
def main(cfg: DictConfig) -> float:
    """Train one job of a multirun of Hydra's own sweepers; ours starts workers instead.

    Returns:
        The objective, which those sweepers are told.
    """
    from headsweep.sweep.compose import validate_job
    from headsweep.sweep.hydra_keys import check_hydra
    from headsweep.sweep.inputs import find_inputs
    from headsweep.sweep.job import objective, open_folder, run_job
    from headsweep.sweep.overrides import as_written

    context = HydraConfig.get()
    check_hydra(as_written(context), "MULTIRUN")
    job = validate_job(cfg, context.runtime.choices, as_written(context.overrides.task))
    folder = Path(context.runtime.output_dir)
    inputs = find_inputs(job)
    run_job(job, inputs, folder, open_folder(job, inputs, folder))
    return objective(job, folder)


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
    except Exception as error:
        from headsweep.sweep.messages import is_foreign, short_message

        if not is_foreign(error):
            raise
        raise UserError(short_message(error)) from error
