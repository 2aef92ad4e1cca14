"""The reasons for which two configurations get no verdict."""

import math
from collections.abc import Mapping

from headsweep.report.predictions import HeadRow, Row
from headsweep.report.resampling import values_of
from headsweep.stats.curves import TARGET_LOSSES
from headsweep.stats.intervals import t_interval
from headsweep.stats.metrics import MARGINS, METRICS
from headsweep.store.labels import has_zero

BLIND_MISID, BLIND_R68 = 0.40, 0.9
"""Limits of no information: a head needs upper 95% limits of wrong charge and r68 below these."""

INFORMED = ("qoverpt", "pt_", "charge", "scale")
"""Beginnings of metrics that need information on charge or pT."""

LEAST_COMMON = 0.95
"""Share of their tracks that two configurations must have in common."""

MAX_CLIPPED = 0.01
"""With a larger share of clipped pT there is no verdict on their RMSE."""

NO_INFORMATION = (
    "not testable: no better than without any information on charge or pT; train longer "
    "(optim.steps), or use features that carry it (features=bending)"
)

NO_ZERO = "a log-likelihood has no zero, so a ratio of two means nothing"

OTHER_EVENTS = (
    "they are trained and judged on other events (data.source or data.split differ): one sample of "
    "each does not tell what the sample does from what the arm does"
)
OTHER_LOSSES = "losses of different targets or kinds are never compared"
OTHER_TRACKS = "their tracks differ, and of this metric the scatter over events is not known"


def obstacle(name: str, arm: HeadRow, control: HeadRow, objections: Mapping[str, str]) -> str:
    """The reason why these two cannot be compared; empty if they can.

    Args:
        name: The metric.
        arm: One of them.
        control: The other.
        objections: By label, why a configuration may enter no verdict.
    """
    if (reason := predictions_obstacle(name, arm, control, objections)) or name not in (
        *TARGET_LOSSES,
        "gap",
    ):
        return reason
    if not (has_zero(arm.loss) and has_zero(control.loss)):
        return NO_ZERO
    return OTHER_LOSSES if name in TARGET_LOSSES and arm.loss != control.loss else ""


def predictions_obstacle(name: str, arm: Row, control: Row, objections: Mapping[str, str]) -> str:
    """The same as far as the predictions tell it; arguments as for ``obstacle``."""
    for row in (arm, control):
        if not row.samples:
            return f"{row.label} has no finished member"
        if row.label in objections:
            return f"{row.label}: {objections[row.label]}"
        if name == "pt_rmse" and values_of(row.samples, "clip_fraction").mean() > MAX_CLIPPED:
            return f"{row.label}: more than {MAX_CLIPPED:.0%} of its pT are clipped"
    if name.startswith(INFORMED):
        blind = [row.label for row in (arm, control) if not _informed(row)]
        if blind:
            return f"{' and '.join(blind)}: {NO_INFORMATION}"
    if arm.folds != control.folds:
        return "one is cross-validated, the other is not"
    if not arm.shares_events(control):
        return OTHER_EVENTS
    if not arm.shares_tracks(control) and (share := arm.common_share(control)) < LEAST_COMMON:
        return (
            f"they are judged on other tracks, {share:.0%} of all are common, and an arm would "
            "win by dropping hard ones; give both the same data.selection"
        )
    scalar = name in MARGINS and name not in METRICS
    if scalar and arm.folds is None and not arm.shares_tracks(control):
        return OTHER_TRACKS
    return ""


def _informed(row: Row) -> bool:
    """True if the upper 95% limits say that there is charge and pT information."""
    for name, most in (("charge_misid", BLIND_MISID), ("qoverpt_r68", BLIND_R68)):
        found = t_interval(values_of(row.samples, name))
        half = 0.0 if math.isnan(found.half) else found.half  # one seed gets no verdict anyway
        if not found.mean + half < most:
            return False
    return True
