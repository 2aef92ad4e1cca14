"""Picture of the learning rates that were tried before a comparison."""

import math

from headsweep.report.content import Report
from headsweep.report.fairness import Fairness
from headsweep.report.render.picture import (
    Line,
    Marker,
    Panel,
    Picture,
    Points,
    Series,
    log_axis,
)
from headsweep.report.render.report_style import legend_title, markers


def rates(report: Report) -> Picture | None:
    """r68 on validation against the learning rate, for every configuration with several rates.

    Returns:
        The picture; None where of no configuration that is shown another rate was tried.
    """
    looks = markers(report)
    tried = [found for found in report.fairness if len(found.rates) > 1 and found.label in looks]
    if not tried:
        return None
    series: list[Series] = []
    for found in tried:
        x, y = [*found.rates], [*found.rates.values()]
        look = looks[found.label]
        series.append(Line(found.label, x, y, look.colour, text=found.label))
        texts = [f"{found.label}<br>{rate:g}: {value:.4f}" for rate, value in found.rates.items()]
        series.append(Points(found.label, x, y, look, texts=texts))
        if found.rate in found.rates:
            own = Points("in use", [found.rate], [found.rates[found.rate]], _ring(look.colour))
            series.append(own)
    x_axis = log_axis("learning rate", "", [rate for found in tried for rate in found.rates])
    values = [value for found in tried for value in found.rates.values() if math.isfinite(value)]
    y_axis = log_axis("r68 of q/pT on val", "relative", values)
    note = (
        f"Mean over seeds that the comparison does not use, {_steps(tried)}. "
        "Ring: the rate in use. A rate at which a seed failed is left out."
    )
    panels = [Panel(y_axis, series)]
    return Picture(
        "rates", "Learning rates that were tried", note, x_axis, panels, legend=legend_title(report)
    )


def _ring(colour: str) -> Marker:
    """Marker around the point of the rate in use."""
    return Marker(colour, "circle", filled=False, size=16)


def _steps(tried: list[Fairness]) -> str:
    """For how many steps the trials went."""
    lengths = sorted({found.tried_for for found in tried})
    return " and ".join(f"{steps:,}" for steps in lengths) + " steps"
