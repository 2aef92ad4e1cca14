"""The family of comparisons that share 5% of errors, fixed by the design before the sweep ran."""

from collections.abc import Mapping, Sequence
from typing import Any

from headsweep.config import DesignConfig
from headsweep.store.labels import FOLD_KEYS

FOLDS = "data.split.folds"

NEEDS_ALL = "a factorial design needs all its configurations, and of these some are equal"


def pairs(labels: Sequence[str], kind: str) -> list[tuple[str, str]]:
    """Arm and control of each comparison of a design.

    Args:
        labels: The configurations, the control first.
        kind: ``path`` compares each with the one before, every other kind all with the first.
    """
    controls = labels[:-1] if kind == "path" else [labels[0]] * (len(labels) - 1)
    return list(zip(labels[1:], controls, strict=True))


def planned_configurations(spec: Mapping[str, Any]) -> int:
    """Configurations that a sweep will have, some perhaps not there yet; 0 if it does not say.

    Args:
        spec: Its ``spec.yaml``. The folds of a cross-validation are one configuration.
    """
    jobs: Sequence[Mapping[str, Any]] = [*spec.get("jobs", {}).values()]
    shared = spec.get("config", {})
    if not all(job.get(FOLDS, shared.get(FOLDS)) for job in jobs):
        return len(jobs)
    own = [{k: v for k, v in job.items() if k not in FOLD_KEYS} for job in jobs]
    return sum(keys not in own[:at] for at, keys in enumerate(own))


def family_size(design: DesignConfig, configurations: int, contrasts: int | None = None) -> int:
    """m, the comparisons for which the intervals allow: contrasts times primary metrics.

    Args:
        design: Its metrics; ``comparisons`` may raise m.
        configurations: Planned ones. All but the first are compared once, with the first or with
            the one before.
        contrasts: Number of the family's contrasts where they are no such pairs: those of one
            order of a factorial design, or the claims, each of which counts once.
    """
    if contrasts is None:
        contrasts = configurations - 1
    metrics = 1 if design.kind == "claims" else len(design.metrics)
    return max(contrasts * metrics, design.comparisons or 0)
