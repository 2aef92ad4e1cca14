"""What a training keeps of a member: its curves while it runs, and its result."""

import math
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from torch import Tensor

from headsweep.stats import curves
from headsweep.stats.tracks import Tracks


@dataclass
class MemberResult:
    """Result of one member; its fields are those of the run folder."""

    seed: int
    status: str
    reason: str | None
    steps: int
    best_step: int
    seconds: float
    metrics: dict[str, float]
    history: pd.DataFrame
    weights: dict[str, Tensor]
    last_weights: dict[str, Tensor]
    predictions: Tracks | None


@dataclass
class Log:
    """Record of one member during a training."""

    rows: list[dict[str, float]] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    norms: list[float] = field(default_factory=list)
    best: float = math.inf
    best_step: int = 0
    best_weights: dict[str, Tensor] = field(default_factory=dict)
    rate: float = 0.0
    since_best: int = 0

    def curve_metrics(self, curve: pd.DataFrame) -> dict[str, float]:
        """Metrics of a member's training curves, ``stats/curves.py``; of its history."""
        steps, val = curve["step"].to_numpy(), curve["val_loss"].to_numpy()
        return {
            "train_loss": float(curve["train_loss"].iloc[-1]),
            "last_val_loss": float(val[-1]),
            "steps_to_95": curves.steps_to_95(steps, val),
            "loss_at_10pct": curves.loss_at_10pct(steps, val),
            "grad_norm_cv": curves.grad_norm_cv(np.array(self.norms)),
            "loss_spikes": curves.loss_spikes(np.array(self.losses)),
        }
