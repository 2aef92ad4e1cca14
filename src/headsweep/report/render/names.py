"""The names in tables and pictures, each with what it means."""

import inspect

from headsweep.report.content import Report
from headsweep.report.render.tables import KNOWN, Table
from headsweep.stats.metrics import LAST_LOSSES, SCORED_LOSSES

WORDS = {
    **{
        name: f"Mean loss on {split}, with the kept weights."
        for split, name in SCORED_LOSSES.items()
    },
    **{name: f"Mean loss on {split} at the last step." for split, name in LAST_LOSSES.items()},
    **{f"L_{split}": f"Mean loss on {split} at the last step." for split in LAST_LOSSES},
    "train_loss": "Mean training loss of the last epoch, with dropout.",
    "last_val_loss": "Mean loss on val at the last step.",
    "usable": "Share of the tracks of which a reference has an estimate.",
    "efficiency": "Share of the true tracks that were found and have an estimate.",
    "rho": "Relative error of q/pT: predicted over true, less 1; about -2 for a wrong charge.",
    "m": "Comparisons that are judged together; its column has the interval widened for them, from "
    "which the verdict is read.",
    "n": "Trainings behind a figure: seeds, or folds times split seeds.",
    "SE": "Standard error, from the scatter of seeds and from the sample of events.",
    "P(better)": "The chance that one new training of the arm beats one of the control.",
    "steps_to_control": "Share of the steps after which validation loss is as low as that of the "
    "control at its end; never, where it does not get there.",
    "control": "The head that all others are compared with.",
    "verdict": "better or worse: the widened interval excludes 0; equivalent: it lies within the "
    "margin; else undecided.",
}
"""Names that no function explains."""


def meaning(name: str) -> str:
    """What a name means, in a sentence; empty where it is a plain word."""
    if name in WORDS or name not in KNOWN:
        return WORDS.get(name, "")
    text = (inspect.getdoc(KNOWN[name].function) or "").partition("\n\n")[0]
    return " ".join(text.replace("``", "").split())


def names_table(report: Report) -> Table:
    """Every name of this report that is no plain word."""
    used = dict.fromkeys([*(value.metric for value in report.values), *WORDS])
    others = [split for split in LAST_LOSSES if split != report.split]
    other = {
        name
        for split in others
        for name in (f"L_{split}", LAST_LOSSES[split], SCORED_LOSSES.get(split))
    }
    rows = []
    for name in used:
        known = any(value.metric == name for value in report.values) or name not in KNOWN
        if known and name not in other and (text := meaning(name)):
            rows.append([name, KNOWN[name].words if name in KNOWN else "", text])
    return Table("What the names mean", ["", "in words", "meaning"], rows)
