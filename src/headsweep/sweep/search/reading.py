"""Reading of a search: from a sweeper's configuration and a command line to its rules.

What cannot be searched is refused here, before anything is written.
"""

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any

from omegaconf import DictConfig, OmegaConf

from headsweep.errors import UserError
from headsweep.instantiate import locate
from headsweep.stats.metrics import METRICS
from headsweep.store.outcome import COUNTS
from headsweep.sweep.internals import search_space
from headsweep.sweep.queue import Compose
from headsweep.sweep.search.rules import Search

STEPS = ("optim.steps", "optim.batch_size")
"""Keys that decide at which steps a training is evaluated."""

MOST = 100_000
"""Largest number of trials; what decides a trial reads all earlier ones."""

OF_MEDIAN = {"warmup_share": "n_warmup_steps", "interval_share": "interval_steps"}
SHARES = {
    "optuna.pruners.MedianPruner": OF_MEDIAN,
    "optuna.pruners.PercentilePruner": OF_MEDIAN,
    "optuna.pruners.SuccessiveHalvingPruner": {"warmup_share": "min_resource"},
}
"""Of each pruner the keys that are shares of ``optim.steps``, and Optuna's for the steps."""

LEAST = {"interval_steps": 1, "min_resource": 1}
"""Least numbers of steps that Optuna takes."""

LOSSES = ("val_loss",)
"""Objectives in units of the loss, which depend on the target."""


def read_search(
    sweeper: DictConfig, arguments: Sequence[str], explicit: Sequence[str], config: Compose
) -> Search:
    """The search that a sweeper's configuration and the overrides of a command line describe.

    Args:
        sweeper: The node ``hydra.sweeper``.
        arguments: ``key=value`` of ``hydra.sweeper.params`` and of the command line.
        explicit: Hydra's own overrides of the command line.
        config: The resolved configuration that overrides give.

    Raises:
        UserError: Something cannot be searched, or not so; the message names the key.
    """
    node = OmegaConf.to_container(sweeper, resolve=True, enum_to_str=True)
    assert isinstance(node, dict)
    plain: dict[str, Any] = {str(key): value for key, value in node.items()}
    try:
        space, fixed = search_space(list(arguments))
    except ValueError as error:  # such as a log scale that begins at 0
        raise UserError(f"a range of the search cannot be used: {error}") from error
    if not space and plain["custom_search_space"] is None:
        raise UserError("hydra.sweeper.params: nothing to search; give a range such as interval")
    _check_official(plain)
    _check_numbers(plain)
    if plain["custom_search_space"] is not None:
        locate(plain["custom_search_space"], "hydra.sweeper.custom_search_space")
    seed, sampler = _sampler(plain["sampler"])
    objectives = _objectives(plain["objective"], space)
    pruner = _pruner(plain["pruner"], objectives, explicit)
    if pruner is not None and (swept := [key for key in STEPS if key in space]):
        raise UserError(
            f"{swept[0]}: trials of unequal length cannot be compared by a pruner; fix it, or "
            "switch pruning off with hydra/sweeper/pruner=none"
        )
    steps = None if STEPS[0] in space else config(fixed)["optim"]["steps"]
    search = Search(
        space=space,
        fixed=fixed,
        objectives=objectives,
        sampler=sampler,
        pruner=None if pruner is None else _in_steps(pruner, steps or 0),
        custom=plain["custom_search_space"],
        seed=seed,
        lag=plain["lag"],
        n_trials=plain["n_trials"],
        max_failures=plain["max_failures"],
        storage=plain["storage"],
        steps=steps,
    )
    search.replica(0, [])  # refuses wrong arguments of sampler and pruner now
    return search


def _sampler(node: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
    """Seed and arguments of a sampler.

    Raises:
        UserError: The sampler cannot be used here.
    """
    sampler = {str(key): value for key, value in node.items() if value is not None}
    seed = sampler.pop("seed", 0)
    if sampler.pop("_partial_", False):
        raise UserError("hydra/sweeper/sampler=grid: a grid needs no search; use -m key=a,b")
    if sampler["_target_"].endswith("QMCSampler"):
        raise UserError(
            "hydra/sweeper/sampler=qmc: its points follow from how many were taken before, not "
            "from a trial's number; use random or tpe"
        )
    if sampler["_target_"].endswith("CmaEsSampler") and find_spec("cmaes") is None:
        raise UserError("hydra/sweeper/sampler=cmaes: pip install 'headsweep[cmaes]' first")
    return seed, sampler


def _check_official(plain: Mapping[str, Any]) -> None:
    """Refuse keys of the official sweeper that another key has replaced here."""
    instead = {
        "n_jobs": (2, "use workers=N"),
        "max_failure_rate": (0.0, "a failed trial stays alone; see hydra.sweeper.max_failures"),
        "study_name": (None, "use name=NAME"),
        "direction": ("minimize", "it follows from hydra.sweeper.objective"),
    }
    for key, (default, advice) in instead.items():
        if plain[key] != default:
            raise UserError(f"hydra.sweeper.{key}={plain[key]}: not used here; {advice}")
    if not isinstance(plain["storage"], str | None):
        raise UserError(
            f"hydra.sweeper.storage={plain['storage']}: must be the address of a database, such as "
            "sqlite:///study.db, or null"
        )


def _check_numbers(plain: Mapping[str, Any]) -> None:
    for key, least in (("n_trials", 1), ("lag", 0), ("max_failures", 1)):
        value = plain[key]
        if value is None and key == "max_failures":
            continue
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= MOST:
            raise UserError(
                f"hydra.sweeper.{key}={value}: must be a whole number from {least} to {MOST:,}"
            )


def _pruner(
    node: Mapping[str, Any] | None, objectives: Sequence[str], explicit: Sequence[str]
) -> dict[str, Any] | None:
    """Pruner in effect; a search of several objectives has none.

    Raises:
        UserError: One was asked for beside several objectives.
    """
    if node is None or node["_target_"] == "optuna.pruners.NopPruner":
        return None
    if len(objectives) == 1:
        return {str(key): value for key, value in node.items() if value is not None}
    asked = [
        o
        for o in explicit
        if o.lstrip("+").startswith(("hydra/sweeper/pruner", "hydra.sweeper.pruner"))
    ]
    if asked:
        raise UserError(
            f"{asked[0]}: a search with several objectives cannot be pruned; leave it out"
        )
    return None


def _in_steps(pruner: Mapping[str, Any], steps: int) -> dict[str, Any]:
    """The pruner as Optuna takes it: shares of the steps as numbers of steps.

    Raises:
        UserError: A share is none, or a number of steps is given.
    """
    names = SHARES.get(pruner["_target_"], {})
    shares = {name: share for share, name in names.items()}
    found = {}
    for key, value in pruner.items():
        where = f"hydra.sweeper.pruner.{key}={value}"
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if key in shares:
            known = number and 0 <= value < steps
            raise UserError(
                f"{where}: a pruner takes shares of optim.steps={steps}, not numbers of steps; "
                f"give hydra.sweeper.pruner.{shares[key]}="
                f"{f'{value / steps:.4g}' if known else 'SHARE, such as 0.25'}"
            )
        if key in names:
            if not (number and 0 <= value < 1):
                raise UserError(f"{where}: must be in [0, 1)")
            value = max(round(value * steps), LEAST.get(names[key], 0))
        found[names.get(key, key)] = value
    return found


def _objectives(node: Any, space: Mapping[str, object]) -> list[str]:
    """Names of the objectives.

    Raises:
        UserError: One is unknown, or means something else in each trial.
    """
    if not isinstance(node, str | list):
        raise UserError(f"hydra.sweeper.objective={node}: one metric or several")
    objectives = [node] if isinstance(node, str) else node
    ranked = [f"val_{m.name}" for m in METRICS.values() if m.better in ("lower", "higher")]
    known = [*LOSSES, *ranked, *COUNTS]
    if not objectives or len(set(objectives)) < len(objectives):
        raise UserError(f"hydra.sweeper.objective={objectives}: one metric or several")
    for name in objectives:
        if name.startswith(("dev_", "test_")):
            raise UserError(
                f"hydra.sweeper.objective={name}: a search reads the validation split only, or its "
                f"winner could not be judged on the others; use val_{name.partition('_')[2]}"
            )
        if name not in known:
            raise UserError(f"hydra.sweeper.objective={name}: not one of {', '.join(known)}")
    for key in space:
        changes_loss = key.partition(".")[0] == "target" or "loss" in key
        if changes_loss and (found := [name for name in objectives if name in LOSSES]):
            raise UserError(
                f"{key}: the search would change what {found[0]} means, not how good the head is; "
                "use hydra.sweeper.objective=[val_qoverpt_r68]"
            )
    if objectives[0] in COUNTS:
        raise UserError(f"hydra.sweeper.objective={objectives[0]}: name a metric first")
    return objectives
