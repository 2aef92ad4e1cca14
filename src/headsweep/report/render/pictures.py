"""The pictures of a report, in their order: those of the page, and those of ``report.md``."""

from collections.abc import Callable

from headsweep.report.content import Report
from headsweep.report.render import binned_pictures, run_pictures
from headsweep.report.render.picture import Picture
from headsweep.report.render.search_picture import search


def main_pictures(report: Report) -> list[Picture]:
    """Pictures that come first: the search, resolution, biases, charges, tails, and others."""
    return [
        *([] if report.search is None else [search(report.search)]),
        binned_pictures.resolution(report),
        binned_pictures.scale_bias(report),
        binned_pictures.charge_misid(report),
        binned_pictures.sagitta_bias(report, "eta"),
        binned_pictures.sagitta_bias(report, "phi"),
        binned_pictures.tails(report),
        *binned_pictures.other_pictures(report),
    ]


def effect_pictures(report: Report) -> list[Picture]:
    """One for each metric that is compared."""
    return [run_pictures.effects(report, name) for name in run_pictures.compared_metrics(report)]


def training_pictures(report: Report) -> list[Picture]:
    """Learning curves and the spread over the seeds."""
    return [run_pictures.learning_curves(report), run_pictures.stability(report)]


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
        run_pictures.learning_curves(report),
    ]


def all_pictures(report: Report) -> dict[str, Picture]:
    """Every picture of a report by its name."""
    makers: list[Callable[[Report], list[Picture]]] = [
        main_pictures,
        effect_pictures,
        training_pictures,
        cost_pictures,
        paper_pictures,
    ]
    return {picture.name: picture for make in makers for picture in make(report)}
