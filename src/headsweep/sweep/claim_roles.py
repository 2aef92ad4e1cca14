"""Roles of the configurations that the document's claims compare."""

from collections.abc import Mapping, Sequence
from typing import Any

from headsweep.errors import UserError
from headsweep.files import flat
from headsweep.identity import DROPPED, INERT_IN_ONE_LAYER, identity
from headsweep.store.labels import FOLD_KEYS

CONTROL = "conservative"
LAYERS, HIDDEN = "head.regression_num_layers", "head.regression_hidden_dim"
DROPOUT, WIDTH = "head.dropout", "pooling.width"
ROLES: Mapping[str, Mapping[str, object]] = {
    CONTROL: {},
    "direct": {LAYERS: 1},
    "no dropout": {DROPOUT: 0.0},
    "half": {WIDTH: "half"},
    "before": {WIDTH: "half", LAYERS: 1},
}
"""Changes of each role against the control; the learning rate may differ, too."""


def find_roles(configs: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Number of the configuration in each of ``ROLES``.

    Args:
        configs: Resolved configurations, the control first; those that differ in the fold of a
            cross-validation alone count as one.

    Returns:
        By role the number of its first configuration; a role may be missing.

    Raises:
        UserError: The first is not what the claims are about, or two share a role.
    """
    all_keys = [_decisive(config) for config in configs]
    control = all_keys[0]
    fits = control.get(LAYERS, 1) > 1 and control.get(HIDDEN) and control.get(DROPOUT)
    if not fits or control[WIDTH] != "full":
        raise UserError(
            "design.kind=claims: the first job must be a head with hidden layers of a stated "
            "width, dropout and full projections; sweeps=claims has arm=baseline first"
        )
    found: dict[str, int] = {}
    for at, keys in enumerate(all_keys):
        inert = INERT_IN_ONE_LAYER if keys.get(LAYERS) == 1 else ()
        changed = {
            k: v
            for k, v in keys.items()
            if k not in (*inert, "optim.lr") and (k not in control or control[k] != v)
        }
        role = next((role for role, change in ROLES.items() if change == changed), None)
        if role is not None and all_keys[found.setdefault(role, at)] != keys:
            raise UserError(
                f"design.kind=claims: jobs {found[role]} and {at} are both '{role}'; each role has "
                "one learning rate. To compare rates: design.kind=control"
            )
    return found


def _decisive(config: Mapping[str, Any]) -> dict[str, Any]:
    """Keys that decide results, without those of the fold."""
    keys = DROPPED | flat(identity(config))
    return {key: value for key, value in keys.items() if key not in FOLD_KEYS}
