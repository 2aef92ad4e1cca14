"""The training loop: recipes of one shape and two splits in, one result per member out."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from headsweep.config import OptimConfig
from headsweep.features.cache import Features
from headsweep.stats import metrics as stats_metrics
from headsweep.stats.tracks import Array, Tracks
from headsweep.training.direct import gradients
from headsweep.training.loss import Loss, Losses
from headsweep.training.members import AdamW, Batches, Population, clip_rows
from headsweep.training.pooling import Hits, to_hits
from headsweep.training.recipe import Recipe
from headsweep.training.record import Log, MemberResult
from headsweep.training.schedule import EARLY_EPOCHS, evaluation_steps, onecycle
from headsweep.training.targets import Target

CURVE_TRACKS = 2000
"""Learning curves are evaluated on this many fixed validation tracks."""

PLATEAU_FACTOR = 0.5
PLATEAU_END = 0.01
"""On a plateau the rate is halved; below this share of the first rate a member stops."""


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


def update(
    population: Population,
    optimiser: AdamW,
    data: "Split",
    loss: Loss | Losses,
    rows: Tensor,
    rates: Sequence[float],
    clip: float | Tensor,
) -> tuple[list[float], list[float]]:
    """Update every member once.

    Args:
        population: The members.
        optimiser: Their optimiser.
        data: The training split.
        loss: What is minimised.
        rows: Tracks of each member's batch [K, B].
        rates: Learning rate of each member [K].
        clip: Largest norm of a member's gradient, one of all or of each [K].

    Returns:
        Loss before the step and gradient norm before clipping of each member, [K] each.
    """
    values, grads = gradients(population, data.hits, data.targets, loss, rows)
    norms = clip_rows(grads, clip)
    optimiser.step(
        population.weights.detach(),
        grads,
        torch.tensor(rates, dtype=norms.dtype, device=norms.device),
    )
    return values.tolist(), norms.tolist()


class _Fit:
    """State of a training; ``alive`` are the members still in the stack, by their first place."""

    def __init__(
        self,
        build: Callable[[Sequence[int]], Population],
        recipes: Sequence[Recipe],
        train: Split,
        val: Split,
    ) -> None:
        self.build, self.recipes, self.train, self.val = build, recipes, train, val
        self.jobs = [job for job, recipe in enumerate(recipes) for _ in recipe.seeds]
        self.seeds = [seed for recipe in recipes for seed in recipe.seeds]
        own = [recipes[job] for job in self.jobs]
        self.population = build(self.seeds)
        if recipes[0].dropout is not None:
            self.population.dropout = [recipe.dropout or 0.0 for recipe in own]
        self.steps = recipes[0].optim.steps
        self.batches = Batches(self.seeds, len(train), recipes[0].optim.batch_size)
        decays = [recipe.optim.weight_decay for recipe in own]
        self.optimiser = AdamW(self.population.weights, decays)
        self.losses = Losses([recipe.loss for recipe in own])
        self.alive = list(range(len(own)))
        self.logs = [Log(rate=recipe.optim.lr) for recipe in own]
        self.results: dict[int, MemberResult] = {}
        self.r68: list[float | None] = [None] * len(recipes)
        self.curve_tracks = torch.arange(min(CURVE_TRACKS, len(val)), device=val.targets.device)
        self.seconds = [0.0] * len(recipes)
        self.charged = time.perf_counter()

    def optim(self, k: int) -> OptimConfig:
        """Budget, rate and schedule of a member."""
        return self.recipes[self.jobs[k]].optim

    def at_work(self) -> list[int]:
        """Jobs with members in the stack."""
        return sorted({self.jobs[k] for k in self.alive})

    def step(self, step: int) -> None:
        """Update every member once; members whose loss is not finite leave the stack."""
        rows = self.batches.next().to(self.train.targets.device)
        clip = self.train.targets.new_tensor([self.optim(k).clip for k in self.alive])
        loss, norms = update(
            self.population, self.optimiser, self.train, self.losses, rows, self.rates(step), clip
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
        return [
            onecycle(step - 1, self.steps, self.optim(k).lr)
            if self.optim(k).schedule == "onecycle"
            else self.logs[k].rate
            for k in self.alive
        ]

    def evaluate(self, step: int) -> None:
        """Add a point to the curves, and take the mean validation r68 of every job.

        A member whose validation loss is not finite fails: its last update broke it.
        """
        outputs = self.population.predict(self.val.hits, self.curve_tracks)
        loss = self.val_losses(outputs, self.losses)
        rates = self.rates(step) if step else [0.0] * len(self.alive)
        for place, k in enumerate(self.alive):
            log, recipe = self.logs[k], self.recipes[self.jobs[k]]
            since = int(log.rows[-1]["step"]) if log.rows else 0
            tracks = self.val.tracks(recipe.loss, outputs[place])
            more = stats_metrics.evaluate(tracks, recipe.also)
            log.rows.append(
                {
                    "step": step,
                    "lr": rates[place],
                    "train_loss": float(np.mean(log.losses[since:])) if step else math.nan,
                    "val_loss": loss[place],
                    "val_qoverpt_r68": stats_metrics.METRICS["qoverpt_r68"].function(tracks),
                    "grad_norm": float(np.median(log.norms[since:])) if step else math.nan,
                    **{f"val_{name}": value for name, value in more.items()},
                }
            )
            if loss[place] < log.best:
                log.best, log.best_step, log.since_best = loss[place], step, 0
                log.best_weights = self.population.member_weights(place)
            elif step > EARLY_EPOCHS * self.batches.per_epoch:
                log.since_best += 1
        for job in self.at_work():
            own = [self.logs[k].rows[-1] for k in self.alive if self.jobs[k] == job]
            self.r68[job] = float(np.mean([row["val_qoverpt_r68"] for row in own]))
        self.fail(step, "validation loss", loss)

    def val_losses(self, outputs: Tensor, losses: Loss | Losses) -> list[float]:
        """Loss of each member [K] on the first T' validation tracks, of outputs [K, T', O']."""
        targets = self.val.targets[: outputs.shape[1]].expand(len(outputs), -1, -1)
        found: list[float] = losses.of_members(outputs, targets).tolist()
        return found

    def prune(self, jobs: Sequence[int], step: int) -> None:
        """Ask for each of these jobs whether it goes on."""
        for job in jobs:
            ask = self.recipes[job].on_evaluation
            reason = ask(step, self.points(job)) if ask is not None else None
            if reason is not None:
                self.finish([k for k in self.alive if self.jobs[k] == job], step, reason)

    def stop_early(self, step: int) -> None:
        """Apply the patience: lower the rate of a member, or finish it."""
        done = []
        for k in self.alive:
            log, optim = self.logs[k], self.optim(k)
            if optim.patience is None or log.since_best < optim.patience:
                continue
            if optim.schedule == "plateau":
                log.rate, log.since_best = log.rate * PLATEAU_FACTOR, 0
                if log.rate >= PLATEAU_END * optim.lr:
                    continue
            done.append(k)
        self.finish(done, step)

    def finish(self, members: Sequence[int], step: int, pruned: str | None = None) -> None:
        """End members, as finished or as pruned for a reason; they leave the stack."""
        for k in members:
            self.results[k] = self.result(k, step, "pruned" if pruned else "finished", pruned)
        self.leave(members)

    def points(self, job: int) -> list[dict[str, float]]:
        """Last point of the curves of a job's members; empty for a failed one."""
        failed = {k for k, result in self.results.items() if result.status == "failed"}
        return [{} if k in failed else self.logs[k].rows[-1] for k in self.members(job)]

    def members(self, job: int) -> list[int]:
        """All members of a job."""
        return [k for k, own in enumerate(self.jobs) if own == job]

    def leave(self, members: Sequence[int]) -> None:
        """Compact the stack."""
        if members:
            places = [i for i, k in enumerate(self.alive) if k not in members]
            self.alive = [self.alive[i] for i in places]
            if places:
                for part in (self.population, self.batches, self.optimiser, self.losses):
                    part.keep(places)

    def charge(self) -> None:
        """Share the time since the last call among the jobs, by their members in the stack."""
        now = time.perf_counter()
        for k in self.alive:
            self.seconds[self.jobs[k]] += (now - self.charged) / len(self.alive)
        self.charged = now

    def result(self, k: int, step: int, status: str, reason: str | None) -> MemberResult:
        """Result of a member when it ends, without its validation metrics."""
        self.charge()
        log = self.logs[k]
        last = self.population.member_weights(self.alive.index(k))
        return MemberResult(
            seed=self.seeds[k],
            status=status,
            reason=reason,
            steps=step,
            best_step=log.best_step,
            seconds=self.seconds[self.jobs[k]],
            metrics={},
            history=pd.DataFrame(log.rows),
            weights=log.best_weights,
            last_weights=last,
            predictions=None,
        )

    def score(self, job: int) -> list[MemberResult]:
        """A job's results, with metrics on the whole validation split at the kept weights."""
        members, loss = self.members(job), self.recipes[job].loss
        finished = [k for k in members if self.results[k].status != "failed"]
        if finished:
            population = self.build([self.seeds[k] for k in finished])
            population.load([self.results[k].weights for k in finished])
            everything = torch.arange(len(self.val), device=self.val.targets.device)
            outputs = population.predict(self.val.hits, everything)
            losses = self.val_losses(outputs, loss)
        for place, k in enumerate(finished):
            result = self.results[k]
            result.predictions = self.val.tracks(loss, outputs[place])
            scores = stats_metrics.evaluate(result.predictions)
            result.metrics = {
                "val_loss": losses[place],
                **{f"val_{name}": value for name, value in scores.items()},
                **self.logs[k].curve_metrics(result.history),
            }
        return [self.results[k] for k in members]


def fit(
    build: Callable[[Sequence[int]], Population],
    recipes: Sequence[Recipe],
    train: Split,
    val: Split,
) -> Iterator[tuple[int, list[MemberResult]]]:
    """Train the members of all recipes together, and give those of each when all have ended.

    The weights with the lowest validation loss on the curve's tracks are kept. A member whose
    loss is not finite fails alone; the others go on as if it had never been there. What comes of a
    member does not depend on the others, nor on their recipes.

    Args:
        build: Makes a fresh population of the given seeds.
        recipes: The jobs, see ``Recipe`` for what they must share.
        train: The training split.
        val: The validation split.

    Yields:
        The place of a recipe, and one result for each of its seeds, in their order.
    """
    run = _Fit(build, recipes, train, val)
    points = set(evaluation_steps(run.steps, run.batches.per_epoch))
    open_jobs = list(range(len(recipes)))
    run.evaluate(0)
    for step in range(1, run.steps + 1):
        jobs = run.at_work()
        if jobs:
            run.step(step)
        if run.alive and step in points:
            still = run.at_work()
            run.evaluate(step)
            run.prune(still, step)
            run.stop_early(step)
        for job in jobs:
            if (on_step := recipes[job].on_step) is not None:
                on_step(step, run.r68[job])
        if step == run.steps:
            run.finish(list(run.alive), step)
        for job in [job for job in open_jobs if job not in run.at_work()]:
            open_jobs.remove(job)
            yield job, run.score(job)
            run.charged = time.perf_counter()
        if not open_jobs:
            return
