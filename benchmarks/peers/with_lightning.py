"""Members on the dense formulation in Lightning's loop, as many at once as there are workers.

Standard output's last line has the seconds of a step. The head is that of ``conservative``.
"""

import json
import logging
import sys
import time
import warnings
from typing import Any

import lightning
import numpy as np
import torch
from joblib import Parallel, delayed
from naive import Events, Naive, collate
from torch.nn import functional as F
from torch.utils.data import DataLoader
from trial import inputs

HITS = (54, 115)
"""Fewest and most hits of an event of the default data."""


class Module(lightning.LightningModule):
    """The naive model with its optimiser and schedule."""

    def __init__(self, model: Naive, steps: int) -> None:
        super().__init__()
        self.model, self.steps, self.began, self.seconds = model, steps, 0.0, 0.0

    def training_step(self, batch: tuple[torch.Tensor, ...], number: int) -> torch.Tensor:
        """The loss of a batch."""
        *given, target, there = batch
        if self.global_step == self.steps // 5:  # the first ones load what the others use
            self.began = time.perf_counter()
        self.seconds = time.perf_counter() - self.began
        return F.smooth_l1_loss(self.model(*given)[there], target[there])

    def configure_optimizers(self) -> Any:
        """AdamW with one cycle."""
        optimiser = torch.optim.AdamW(self.parameters(), 0.04, weight_decay=1e-4)
        cycle = torch.optim.lr_scheduler.OneCycleLR(optimiser, 0.04, total_steps=self.steps + 1)
        return [optimiser], [{"scheduler": cycle, "interval": "step"}]


def train_one(overrides: list[str], seed: int, steps: int) -> float:
    """Seconds of a step of one member."""
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    job, frozen, train, _, _ = inputs(overrides, "conservative", seed)
    sizes = np.random.default_rng(seed).integers(*HITS, len(frozen), endpoint=True)
    events = Events(frozen, train.targets, sizes)
    size = job.config.optim.batch_size
    batches = DataLoader(events, size, shuffle=True, drop_last=True, collate_fn=collate)
    shape = (frozen.raw.shape[1], frozen.query.shape[1], train.targets.shape[1])
    module = Module(Naive(*shape), steps)
    trainer = lightning.Trainer(
        accelerator="cpu",
        max_epochs=-1,
        max_steps=steps,
        gradient_clip_val=job.config.optim.clip,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, batches)
    return module.seconds / (steps - 1 - steps // 5)


def main() -> None:
    task = json.loads(sys.stdin.read())
    found = Parallel(n_jobs=task["workers"])(
        delayed(train_one)(task["overrides"], seed, task["steps"])
        for seed in range(task["workers"])
    )
    print(json.dumps(sum(found) / len(found)))


if __name__ == "__main__":
    main()
