"""Steps at which the curves are evaluated, and the learning rate of each step."""

import math

EARLY_EPOCHS = 2
EARLY_EVALUATIONS = 10
"""Points of the curves in each of the first epochs; later epochs have one."""

WARMUP = 0.1
"""Share of the steps in which the rate of OneCycle rises."""


def evaluation_steps(steps: int, per_epoch: int) -> list[int]:
    """Steps after which the curves are evaluated; 0 is before the first step."""
    early = {
        round(i * per_epoch / EARLY_EVALUATIONS)
        for i in range(EARLY_EPOCHS * EARLY_EVALUATIONS + 1)
    }
    late = range(EARLY_EPOCHS * per_epoch, steps + 1, per_epoch)
    return sorted(s for s in {*early, *late, 0, steps} if s <= steps)


def onecycle(step: int, steps: int, lr: float) -> float:
    """Rate of 1cycle (Smith and Topin, 2018): cosine up from lr/25, cosine down to lr/250000."""
    top = max(WARMUP * steps - 1, 1.0)
    if step <= top:
        return _cosine(lr / 25, lr, step / top)
    return _cosine(lr, lr / 250_000, (step - top) / (steps - 1 - top))


def _cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2
