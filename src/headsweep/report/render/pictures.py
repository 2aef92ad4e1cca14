"""The pictures of a report, in their order: those of the page, and those of ``report.md``."""

from collections.abc import Callable

from headsweep.events.selection import STATION
from headsweep.report.content import Report
from headsweep.report.render import binned_pictures, run_pictures, shape_pictures
from headsweep.report.render.picture import Picture
from headsweep.report.render.rate_picture import rates
from headsweep.report.render.search_picture import search


def main_pictures(report: Report) -> list[Picture]:
    """Pictures that come first: the search, resolution, bias and charges."""
    return [
        *([] if report.search is None else [search(report.search)]),
        binned_pictures.resolution(report),
        binned_pictures.scale_bias(report),
        binned_pictures.charge_misid(report),
    ]


def detail_pictures(report: Report) -> list[Picture]:
    """Distributions, resolution in two dimensions, all other metrics in bins, sagitta and tails."""
    pulls = shape_pictures.pulls(report)
    return [
        shape_pictures.residuals(report),
        shape_pictures.resolution_maps(report),
        *([] if pulls is None else [pulls]),
        *binned_pictures.other_pictures(report),
        binned_pictures.sagitta_bias(report, "eta"),
        binned_pictures.sagitta_bias(report, "phi"),
        binned_pictures.tails(report),
    ]


def left_out(report: Report) -> list[str]:
    """A sentence for each picture or table that these data or heads do not have."""
    found = []
    if shape_pictures.pulls(report) is None:
        found.append(
            "No pulls: no head here gives an uncertainty; loss=gaussian and loss=quantile do."
        )
    if not any(value.axis == "stations" for value in report.values):
        found.append(
            f"Nothing against the number of stations: the hits have no feature {STATION}, which "
            "tells stations apart."
        )
    if not report.averages:
        found.append(
            "No average of the seeds and no agreement: no head has two seeds or more on the same "
            "tracks."
        )
    return found


def effect_pictures(report: Report) -> list[Picture]:
    """One for each metric that is compared."""
    return [run_pictures.effects(report, name) for name in run_pictures.compared_metrics(report)]


def training_pictures(report: Report) -> list[Picture]:
    """Learning rates that were tried, and learning curves."""
    tried = rates(report)
    return [*([] if tried is None else [tried]), run_pictures.learning_curves(report)]


def seed_pictures(report: Report) -> list[Picture]:
    """The spread over the seeds."""
    return [run_pictures.stability(report)]


def cost_pictures(report: Report) -> list[Picture]:
    """r68 against each cost."""
    return [run_pictures.cost(report, what) for what in run_pictures.COSTS]


def paper_pictures(report: Report) -> list[Picture]:
    """Pictures beside ``report.md``."""
    return [
        *([] if report.search is None else [search(report.search)]),
        binned_pictures.resolution(report),
        binned_pictures.resolution_of_all(report),
        binned_pictures.scale_bias(report),
        binned_pictures.charge_misid(report),
        shape_pictures.residuals(report),
        shape_pictures.resolution_maps(report),
        run_pictures.learning_curves(report),
    ]


def all_pictures(report: Report) -> dict[str, Picture]:
    """Every picture of a report by its name."""
    makers: list[Callable[[Report], list[Picture]]] = [
        main_pictures,
        detail_pictures,
        effect_pictures,
        training_pictures,
        seed_pictures,
        cost_pictures,
        paper_pictures,
    ]
    return {picture.name: picture for make in makers for picture in make(report)}
