"""The looks at a report's verdicts in words; nothing where each has one look, as planned."""

from headsweep.report.comparisons import Effect
from headsweep.report.content import Report
from headsweep.report.render.tables import NOTHING, Table
from headsweep.stats.power import ALPHA
from headsweep.stats.sequential import ROUNDS, Looks
from headsweep.store.paths import LOOKS


def looks_of(effect: Effect) -> Looks | None:
    """The looks at a comparison with a verdict that is read by sequential bounds."""
    looks = None if effect.verdict is None else effect.verdict.comparison.looks
    return looks if looks is not None and looks.sequential else None


def look_cell(effect: Effect) -> str:
    """Number of the look at a comparison, and its level."""
    looks = looks_of(effect)
    return NOTHING if looks is None else f"{len(looks.sizes)}, at {looks.alpha:.2%}"


def looks_sentence(report: Report) -> str:
    """That the verdicts are those of sequential looks, with the number of looks."""
    found = [looks for effect in report.effects if (looks := looks_of(effect))]
    if not found:
        return ""
    numbers = sorted({len(looks.sizes) for looks in found})
    which = " to ".join(str(n) for n in dict.fromkeys((numbers[0], numbers[-1])))
    return f"Look {which} at growing numbers of seeds, read by sequential bounds."


def looks_table(report: Report) -> Table | None:
    """Every look at each set of comparisons: when, with how many seeds, and what it spent."""
    groups: dict[Looks, list[str]] = {}
    for effect in report.effects:
        if looks := looks_of(effect):
            groups.setdefault(looks, []).append(effect.arm)
    if not groups:
        return None
    rows = []
    for looks, arms in groups.items():
        names = "all comparisons" if len(groups) == 1 else ", ".join(dict.fromkeys(arms))
        times = looks.when or (NOTHING,) * len(looks.sizes)
        history = zip(times, looks.sizes, looks.history(), strict=True)
        for number, (when, n, (level, error)) in enumerate(history, start=1):
            cells = [f"{number}", when.removesuffix("+00:00").replace("T", " "), f"{n:.3g}"]
            rows.append([names if number == 1 else "", *cells, f"{level:.2%}", f"{error:.1%}"])
    columns = ["", "look", "when (UTC)", "seeds", "level", "error so far"]
    return Table("Looks at these verdicts", columns, rows, _note([*groups]))


def _note(found: list[Looks]) -> str:
    counted = f"A report of verdicts on other members than before is a look; {LOOKS} counts them."
    if not any(looks.when for looks in found):
        counted = (
            "The looks were fixed before the sweep ran (seeds=auto). A comparison ends with the "
            "first one that decides it, and keeps its verdict when others go on."
        )
    text = (
        f"{counted} The verdict is read from the interval at 1 - level/m. Levels: Lan and DeMets, "
        "spending of the Pocock type. Error so far: the chance that one of these looks finds a "
        f"difference where there is none, for m = 1; one look, as planned, has {ALPHA:.0%}. Seeds: "
        "per arm, the harmonic mean."
    )
    for planned in dict.fromkeys(looks.planned for looks in found if not looks.extended):
        text += f" Planned were {planned:.3g} seeds, and all looks until then share {ALPHA:.0%}."
    for planned, cap in dict.fromkeys((one.planned, one.cap) for one in found if one.extended):
        text += (
            f" Planned were {planned:.3g} seeds, and more were trained after a look: the level is "
            f"that of {ROUNDS} looks up to {cap:.3g} seeds."
        )
    return text
