"""Made-up configurations of a report, of which a test states only what it is about."""

from collections.abc import Sequence
from typing import Any

from headsweep.report.predictions import HeadRow, Sample
from headsweep.store.labels import loss_key


def make_head_row(label: str, samples: Sequence[Sample], **more: Any) -> HeadRow:
    """A configuration with these members; all else is empty but for ``more``."""
    facts: dict[str, Any] = {
        "folds": None,
        "loss": loss_key({"target": {"name": "plain"}}),
        "parameters": 100,
        "planned": len(samples),
        "failed": (),
        "problems": (),
        "flops": 0.0,
        "seconds": 0.0,
        "inputs": "",
        "efficiency_by_eta": (),
        "curves": (),
    }
    return HeadRow(label=label, samples=[*samples], **facts | more)
