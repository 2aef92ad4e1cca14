"""The training loop: a population, two splits and a budget in, one result per member out."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from headsweep.config import OptimConfig
from headsweep.features.cache import Features
from headsweep.stats import curves
from headsweep.stats import metrics as stats_metrics
from headsweep.stats.tracks import Array, Tracks
from headsweep.training.loss import Loss
from headsweep.training.members import AdamW, Batches, Population, clip_rows
from headsweep.training.pooling import Hits, to_hits
from headsweep.training.schedule import EARLY_EPOCHS, evaluation_steps, onecycle
from headsweep.training.targets import Target

CURVE_TRACKS = 2000
"""Learning curves are evaluated on this many fixed validation tracks."""

PLATEAU_FACTOR = 0.5
PLATEAU_END = 0.01
"""On a plateau the rate is halved; below this share of the first rate a member stops."""

OnStep = Callable[[int, float | None], None]
"""Called after a step with its number and the last mean validation r68."""

OnEvaluation = Callable[[int, list[dict[str, float]]], str | None]
"""Called after an evaluation with the step and the last point of every member's curves. A member
that has stopped keeps its last point, a failed one has an empty point. Returns the reason to prune
all members, or None to go on."""


@dataclass(frozen=True)
class Split:
    """One split ready for training: hits on the device, standardised targets [T, O], truth.

    The rest is as in ``features.cache.Features``.
    """

    hits: Hits
    targets: Tensor
    truth: NDArray[Any]
    axis: NDArray[Any]
    event: NDArray[Any]
    analytic: NDArray[Any]

    @classmethod
    def of(cls, features: Features, target: Target, device: str = "cpu") -> "Split":
        """Copy one split of frozen features to a device."""

        def tensor(values: Array) -> Tensor:
            return torch.tensor(values, dtype=torch.float32, device=device)

        estimate = target.encode_estimate(features.analytic, features.axis)
        return cls(
            hits=replace(to_hits(features, device), estimate=tensor(estimate)),
            targets=tensor(target.encode(features.truth, features.axis)),
            truth=np.asarray(features.truth),
            axis=np.asarray(features.axis),
            event=np.asarray(features.event),
            analytic=np.asarray(features.analytic),
        )

    def __len__(self) -> int:
        return len(self.truth)

    def tracks(self, loss: Loss, outputs: Tensor) -> Tracks:
        """Predictions of the first T' tracks, from outputs [T', O'] and perhaps the estimate."""
        n = len(outputs)
        truth, event = self.truth[:n], self.event[:n]
        tracks = loss.decode(outputs.cpu().numpy(), truth, self.axis[:n], event)
        if not loss.target.analytic:
            return tracks
        estimate = Tracks.from_estimate(event, truth, self.analytic[:n])
        return estimate.where(estimate.usable, tracks)


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


def update(
    population: Population,
    optimiser: AdamW,
    data: "Split",
    loss: Loss,
    rows: Tensor,
    rates: Sequence[float],
    clip: float,
) -> tuple[list[float], list[float]]:
    """Update every member once.

    Args:
        population: The members.
        optimiser: Their optimiser.
        data: The training split.
        loss: What is minimised.
        rows: Tracks of each member's batch [K, B].
        rates: Learning rate of each member [K].
        clip: Largest norm of a member's gradient.

    Returns:
        Loss before the step and gradient norm before clipping of each member, [K] each.
    """
    values = loss.of_members(population.forward(data.hits, rows), data.targets[rows])
    (grads,) = torch.autograd.grad(values.sum(), population.weights)
    norms = clip_rows(grads, clip)
    optimiser.step(
        population.weights.detach(),
        grads,
        torch.tensor(rates, dtype=norms.dtype, device=norms.device),
    )
    return values.tolist(), norms.tolist()


@dataclass
class _Log:
    """Record of one member during a training."""

    rows: list[dict[str, float]] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    norms: list[float] = field(default_factory=list)
    best: float = math.inf
    best_step: int = 0
    best_weights: dict[str, Tensor] = field(default_factory=dict)
    rate: float = 0.0
    since_best: int = 0


class _Fit:
    """State of a training; ``alive`` are the members still in the stack, by their first place."""

    def __init__(
        self,
        population: Population,
        train: Split,
        val: Split,
        loss: Loss,
        optim: OptimConfig,
        also: Sequence[str],
    ) -> None:
        self.population, self.train, self.val = population, train, val
        self.loss, self.optim, self.also = loss, optim, also
        self.batches = Batches(population.seeds, len(train), optim.batch_size)
        self.optimiser = AdamW(population.weights, optim.weight_decay)
        self.seeds = list(population.seeds)
        self.alive = list(range(len(population)))
        self.logs = [_Log(rate=optim.lr) for _ in self.seeds]
        self.results: dict[int, MemberResult] = {}
        self.curve_tracks = torch.arange(min(CURVE_TRACKS, len(val)), device=val.targets.device)
        self.started = time.perf_counter()

    def step(self, step: int) -> None:
        """Update every member once; members whose loss is not finite leave the stack."""
        rows = self.batches.next().to(self.train.targets.device)
        rates, clip = self.rates(step), self.optim.clip
        loss, norms = update(
            self.population, self.optimiser, self.train, self.loss, rows, rates, clip
        )
        for k, value, norm in zip(self.alive, loss, norms, strict=True):
            self.logs[k].losses.append(value)
            self.logs[k].norms.append(norm)
        self.fail(step, "loss", loss)

    def fail(self, step: int, what: str, values: Sequence[float]) -> None:
        """Members whose value is not finite fail and leave the stack."""
        bad = {k: v for k, v in zip(self.alive, values, strict=True) if not math.isfinite(v)}
        for k, value in bad.items():
            reason = f"seed {self.seeds[k]}: {what} is {value} at step {step}"
            self.results[k] = self.result(k, step, "failed", reason)
        self.leave(list(bad))

    def rates(self, step: int) -> list[float]:
        """Learning rate of each member still in the stack."""
        if self.optim.schedule == "onecycle":
            return [onecycle(step - 1, self.optim.steps, self.optim.lr)] * len(self.alive)
        return [self.logs[k].rate for k in self.alive]

    def evaluate(self, step: int) -> float:
        """Add a point to the curves, and return the mean validation r68 of the stack.

        A member whose validation loss is not finite fails: its last update broke it.
        """
        outputs = self.population.predict(self.val.hits, self.curve_tracks)
        loss = self.val_losses(outputs)
        rates = self.rates(step) if step else [0.0] * len(self.alive)
        r68 = []
        for place, k in enumerate(self.alive):
            log = self.logs[k]
            since = int(log.rows[-1]["step"]) if log.rows else 0
            tracks = self.val.tracks(self.loss, outputs[place])
            r68.append(stats_metrics.METRICS["qoverpt_r68"].function(tracks))
            log.rows.append(
                {
                    "step": step,
                    "lr": rates[place],
                    "train_loss": float(np.mean(log.losses[since:])) if step else math.nan,
                    "val_loss": loss[place],
                    "val_qoverpt_r68": r68[-1],
                    "grad_norm": float(np.median(log.norms[since:])) if step else math.nan,
                    **{f"val_{n}": v for n, v in stats_metrics.evaluate(tracks, self.also).items()},
                }
            )
            if loss[place] < log.best:
                log.best, log.best_step, log.since_best = loss[place], step, 0
                log.best_weights = self.population.member_weights(place)
            elif step > EARLY_EPOCHS * self.batches.per_epoch:
                log.since_best += 1
        self.fail(step, "validation loss", loss)
        return float(np.mean(r68))

    def val_losses(self, outputs: Tensor) -> list[float]:
        """Loss of each member [K] on the first T' validation tracks, of outputs [K, T', O']."""
        targets = self.val.targets[: outputs.shape[1]].expand(len(outputs), -1, -1)
        found: list[float] = self.loss.of_members(outputs, targets).tolist()
        return found

    def stop_early(self, step: int) -> None:
        """Apply the patience: lower the rate of a member, or finish it."""
        patience = self.optim.patience
        if patience is None:
            return
        done = []
        for k in self.alive:
            log = self.logs[k]
            if log.since_best < patience:
                continue
            if self.optim.schedule == "plateau":
                log.rate, log.since_best = log.rate * PLATEAU_FACTOR, 0
                if log.rate >= PLATEAU_END * self.optim.lr:
                    continue
            done.append(k)
        self.finish(done, step)

    def finish(self, members: Sequence[int], step: int, pruned: str | None = None) -> None:
        """End members, as finished or as pruned for a reason; they leave the stack."""
        for k in members:
            self.results[k] = self.result(k, step, "pruned" if pruned else "finished", pruned)
        self.leave(members)

    def points(self) -> list[dict[str, float]]:
        """Last point of every member's curves; empty for a failed one."""
        failed = {k for k, result in self.results.items() if result.status == "failed"}
        return [{} if k in failed else log.rows[-1] for k, log in enumerate(self.logs)]

    def leave(self, members: Sequence[int]) -> None:
        """Compact the stack."""
        if members:
            places = [i for i, k in enumerate(self.alive) if k not in members]
            self.alive = [self.alive[i] for i in places]
            if places:
                for part in (self.population, self.batches, self.optimiser):
                    part.keep(places)

    def result(self, k: int, step: int, status: str, reason: str | None) -> MemberResult:
        """Result of a member when it ends, without its validation metrics."""
        log = self.logs[k]
        last = self.population.member_weights(self.alive.index(k))
        return MemberResult(
            seed=self.seeds[k],
            status=status,
            reason=reason,
            steps=step,
            best_step=log.best_step,
            seconds=time.perf_counter() - self.started,
            metrics={},
            history=pd.DataFrame(log.rows),
            weights=log.best_weights,
            last_weights=last,
            predictions=None,
        )

    def curve_metrics(self, k: int) -> dict[str, float]:
        """Metrics of a member's training curves, ``stats/curves.py``."""
        log, curve = self.logs[k], self.results[k].history
        steps, val = curve["step"].to_numpy(), curve["val_loss"].to_numpy()
        return {
            "train_loss": float(curve["train_loss"].iloc[-1]),
            "last_val_loss": float(val[-1]),
            "steps_to_95": curves.steps_to_95(steps, val),
            "loss_at_10pct": curves.loss_at_10pct(steps, val),
            "grad_norm_cv": curves.grad_norm_cv(np.array(log.norms)),
            "loss_spikes": curves.loss_spikes(np.array(log.losses)),
        }

    def score(self, build: Callable[[Sequence[int]], Population]) -> None:
        """Add metrics on the whole validation split to the results, at the kept weights."""
        finished = [k for k, r in sorted(self.results.items()) if r.status != "failed"]
        if not finished:
            return
        population = build([self.seeds[k] for k in finished])
        population.load([self.results[k].weights for k in finished])
        everything = torch.arange(len(self.val), device=self.val.targets.device)
        outputs = population.predict(self.val.hits, everything)
        loss = self.val_losses(outputs)
        for place, k in enumerate(finished):
            result = self.results[k]
            result.predictions = self.val.tracks(self.loss, outputs[place])
            scores = stats_metrics.evaluate(result.predictions)
            result.metrics = {
                "val_loss": loss[place],
                **{f"val_{name}": value for name, value in scores.items()},
                **self.curve_metrics(k),
            }


def fit(
    build: Callable[[Sequence[int]], Population],
    seeds: Sequence[int],
    train: Split,
    val: Split,
    loss: Loss,
    optim: OptimConfig,
    on_step: OnStep | None = None,
    on_evaluation: OnEvaluation | None = None,
    also: Sequence[str] = (),
) -> list[MemberResult]:
    """Train one member per seed, all together.

    The weights with the lowest validation loss on the curve's tracks are kept. A member whose
    loss is not finite fails alone; the others go on as if it had never been there.

    Args:
        build: Makes a fresh population of the given seeds.
        seeds: One for each member.
        train: The training split.
        val: The validation split.
        loss: What is minimised, and what the outputs stand for.
        optim: Budget, rate and schedule.
        on_step: Called after every step.
        on_evaluation: Called after every evaluation but the one before the first step; all members
            end, with the status ``pruned``, when it gives a reason.
        also: Metrics in the curves beside the resolution of q/pT.

    Returns:
        One result a seed, in the order of ``seeds``.
    """
    run = _Fit(build(seeds), train, val, loss, optim, also)
    points = set(evaluation_steps(optim.steps, run.batches.per_epoch))
    r68: float | None = run.evaluate(0)
    for step in range(1, optim.steps + 1):
        if not run.alive:
            break
        run.step(step)
        if run.alive and step in points:
            r68 = run.evaluate(step)
            pruned = on_evaluation(step, run.points()) if on_evaluation is not None else None
            if pruned is not None:
                run.finish(list(run.alive), step, pruned)
            run.stop_early(step)
        if on_step is not None:
            on_step(step, r68)
    run.finish(list(run.alive), optim.steps)
    run.score(build)
    return [run.results[k] for k in range(len(seeds))]
