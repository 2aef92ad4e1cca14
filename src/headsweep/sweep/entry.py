"""The verb ``train``: Hydra's command line, read and checked before Hydra runs it."""

from collections.abc import Sequence

from headsweep.errors import UserError
from headsweep.sweep.hydra_app import start
from headsweep.sweep.internals import argument_parser


def train(arguments: Sequence[str]) -> int:
    """Run a command line of ``train``: a single run, a sweep, a dry run, or Hydra's help.

    Args:
        arguments: Those of Hydra, and ``--dry-run``.

    Returns:
        The exit code.

    Raises:
        UserError: The command line, the configuration or the data is wrong.
    """
    from headsweep.instantiate import allow
    from headsweep.sweep.compose import open_loader
    from headsweep.sweep.config_files import check_files
    from headsweep.sweep.overrides import (
        as_override,
        as_texts,
        is_sweep,
        runtime_values,
        sweep_name,
    )
    from headsweep.sweep.plan import make_plan

    argv = as_texts([argument for argument in arguments if argument != "--dry-run"])
    args = argument_parser().parse_intermixed_args(argv)
    if args.help or args.hydra_help or args.info or args.shell_completion:
        start(argv)
        return 0
    if args.config_path or args.config_name or args.experimental_rerun:
        raise UserError("the configuration can only be added to, with --config-dir FOLDER")

    multirun = args.multirun or (not args.cfg and is_sweep(args.overrides))
    if "--dry-run" in arguments and not args.cfg:
        from headsweep.sweep.dry_run import dry_run

        return dry_run(make_plan(args.overrides, multirun, args.config_dir))
    if args.cfg or multirun:
        allow(runtime_values(args.overrides).get("allow"))
        with open_loader(args.config_dir) as loader:  # Hydra's own errors say less
            check_files(loader, args.overrides, multirun)
        rest = [a for a in argv if a not in ("-m", "--multirun")]
        name = as_override("name", sweep_name(args.overrides)) if multirun else ""
        start(["--multirun", name, *rest] if multirun else rest)
        return 0
    from headsweep.sweep.single_run import train_single

    return train_single(make_plan(args.overrides, False, args.config_dir), argv)
