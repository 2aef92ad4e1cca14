"""What MLflow shows of a report: the answer, and for each configuration verdict and figures."""

import math
import statistics
from typing import Any

from headsweep.report.content import HeadSummary, Report
from headsweep.report.render import verdict_tables
from headsweep.stats.metrics import shown

MAIN = "qoverpt_r68"


def summary(report: Report) -> dict[str, Any]:
    """Content of ``summary.json``: answer, split, and rows of label, jobs, verdict and metrics."""
    rows = [
        {
            "label": head.label,
            "jobs": [*head.jobs],
            "verdict": _verdict(report, head.label),
            "metrics": _metrics(report, head),
        }
        for head in report.heads
    ]
    return {"answer": verdict_tables.answer(report), "split": report.split, "rows": rows}


def _metrics(report: Report, head: HeadSummary) -> dict[str, float]:
    """Means of main figures and uncertainties over the members, deviation of r68; finite ones."""
    found = {
        f"{report.split}_{name}_mean": value.estimate.mean
        for name in (*shown("main"), *shown("uncertainty"))
        for value in report.get(head.label, name)
    }
    if len(head.r68) > 1:
        found[f"{report.split}_{MAIN}_std"] = statistics.stdev(head.r68)
    return {name: value for name, value in found.items() if math.isfinite(value)}


def _verdict(report: Report, label: str) -> str:
    """The verdicts on a configuration as words, and what it is compared with."""
    own = [effect for effect in report.effects if effect.arm == label]
    if not own:
        control = any(effect.control == label for effect in report.effects)
        return "control" if control else "none"
    several = len({effect.metric for effect in report.effects}) > 1
    return "; ".join(
        verdict_tables.brief(effect) + (f" in {effect.metric}" if several else "") for effect in own
    )
