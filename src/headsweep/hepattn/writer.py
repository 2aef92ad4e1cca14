"""Records what a head reads in a running hepattn model; see docs/how-to/hepattn.md."""

from typing import Any

import torch

from headsweep.errors import UserError
from headsweep.hepattn.recording import Recording

try:
    from lightning.pytorch import Callback
except ImportError:
    Callback = object
LOGIT = "track_hit_logit"


class FrozenWriter(Recording):
    """Hooks a MaskFormer of the fork or of main; see ``Recording`` for the arguments."""

    def __init__(
        self, model: Any, folder: str, checkpoint: str, commit: str, **options: Any
    ) -> None:
        [self.mask] = [task for task in model.tasks if LOGIT in task.outputs]
        task = next((task for task in model.tasks if hasattr(task, "raw_hit_net")), self.mask)
        fields = options.pop("fields", None) or getattr(task, "hit_fields", None)
        if fields is None:
            raise UserError("the model has no regression task with hit_fields: give fields")
        super().__init__(folder, checkpoint, commit, fields, **options)
        look = task.register_forward_pre_hook(self._look, with_kwargs=True)
        self.hooks = [look, model.register_forward_hook(self._keep, with_kwargs=True)]

    def _look(self, _: Any, args: Any, kwargs: Any) -> None:
        self.x = dict(args[0] if args else kwargs["x"])  # the last call of a pass counts

    def _keep(self, model: Any, args: Any, kwargs: Any, outputs: Any) -> None:
        if any(module.training for module in model.modules()):
            raise UserError("the model is in training mode: call model.eval() before recording")
        x, main = self.x, "inputs" in self.x
        hits = x["inputs"] if main else args[0] if args else kwargs["inputs"]
        # The fork's head reads the logits of the last decoder layer's input, main's the final ones.
        layer = "final" if main else f"layer_{sum('layer_' in name for name in outputs) - 1}"
        logit = outputs[layer][self.mask.name][LOGIT]
        valid, sorter = x["hit_valid"], getattr(model, "sorter", None)
        places = torch.arange(valid.shape[1], device=valid.device).expand_as(valid)
        order = torch.argsort(hits[f"hit_{sorter.input_sort_field}"]) if sorter else places
        tensors = {"encoded": x["hit_embed"], "query": x["query_embed"], "p": torch.sigmoid(logit)}
        self.take(hits, logits=layer, order=order, valid=valid, **tensors)

    def close(self) -> None:
        """Complete the folder and leave the model."""
        for hook in self.hooks:
            hook.remove()
        super().close()


class RecordFeatures(Callback):  # type: ignore[misc]  # its library need not be there
    """Lightning callback that records ``test`` or ``predict`` with the weights of ``ckpt_path``."""

    def __init__(self, folder: str, split: str, commit: str, fields: list[str] | None = None):
        self.folder, self.split, self.commit, self.fields = folder, split, commit, fields

    def on_test_start(self, trainer: Any, module: Any) -> None:
        """Hook the model."""
        where = (self.folder, trainer.ckpt_path or "ckpt_path", self.commit)
        self.writer = FrozenWriter(module.model, *where, fields=self.fields)

    def on_test_batch_start(self, trainer: Any, module: Any, batch: Any, *_: Any) -> None:
        """Keep the targets: the loss may put others into their mapping."""
        self.targets = dict(batch[1])

    def on_test_batch_end(self, *_: Any) -> None:
        """Write the batch."""
        self.writer.write(self.split, self.targets)

    def on_test_end(self, *_: Any) -> None:
        """Complete the folder."""
        self.writer.close()

    on_predict_start, on_predict_batch_start = on_test_start, on_test_batch_start
    on_predict_batch_end, on_predict_end = on_test_batch_end, on_test_end
