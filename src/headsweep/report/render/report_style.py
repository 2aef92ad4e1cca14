"""Choice of the configurations in a picture, and look of configurations and references."""

from headsweep.report.content import Report
from headsweep.report.render.picture import COLOURS, SYMBOLS, Dash, Marker

DASHES: dict[str, Dash] = {
    "constant predictor": "dot",
    "analytic estimate": "dash",
    "classical reference": "solid",
}
"""Line of each kind of reference."""


def shown_heads(report: Report) -> list[str]:
    """Configurations that fit into a picture: all, or the first and those with the lowest r68."""
    heads = [row.label for row in report.heads if row.finished]
    if len(heads) <= len(COLOURS):
        return heads
    # The first is what the others are compared with; of a search it is the best anyway.
    control, *others = heads
    others.sort(key=lambda label: report.get(label, "qoverpt_r68")[0].estimate.mean)
    return [control, *others[: len(COLOURS) - 1]]


def markers(report: Report) -> dict[str, Marker]:
    """Marker of each configuration that is shown."""
    return {
        # A triangle of the same size would look smaller.
        label: Marker(colour, symbol, size=9 if symbol.startswith("triangle") else 7)
        for label, colour, symbol in zip(shown_heads(report), COLOURS, SYMBOLS, strict=False)
    }


def dashes(report: Report) -> dict[str, Dash]:
    """Line of each reference."""
    return {row.label: DASHES[row.reference] for row in report.references}


def legend_title(report: Report) -> str:
    """Words on which configurations are shown; empty where all are."""
    shown, total = len(shown_heads(report)), len(report.heads)
    return f"{shown} of {total}: the first and the lowest r68" if shown < total else ""
