"""How the members of one job are trained, in a stack that may hold members of other jobs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from headsweep.config import OptimConfig
from headsweep.training.loss import Loss

OnStep = Callable[[int, float | None], None]
"""Called after a step of a job with its number and the job's last mean validation r68."""

OnEvaluation = Callable[[int, list[dict[str, float]]], str | None]
"""Called after an evaluation with the step and the last point of every member's curves. A member
that has stopped keeps its last point, a failed one has an empty point. Returns the reason to prune
all members, or None to go on."""


@dataclass(frozen=True)
class Recipe:
    """The members of one job, and all in which they may differ from others of their stack.

    The jobs of a stack share their features, their target, the architecture of their heads, and of
    ``optim`` the steps and the batch size.

    Attributes:
        seeds: One for each member.
        loss: What is minimised, and what the outputs stand for.
        optim: Budget, rate and schedule.
        dropout: Probability of every dropout of the head; None for those it was built with.
        on_step: Called after every step in which the job had a member.
        on_evaluation: Called after every evaluation but the one before the first step; all members
            of the job end, with the status ``pruned``, when it gives a reason.
        also: Metrics in the curves beside the resolution of q/pT.
    """

    seeds: Sequence[int]
    loss: Loss
    optim: OptimConfig
    dropout: float | None = None
    on_step: OnStep | None = None
    on_evaluation: OnEvaluation | None = None
    also: Sequence[str] = ()
