"""Pictures of the architecture page: the packages, from their real imports, and a running sweep.

MkDocs calls ``on_files``; ``pictures`` gives the same SVG to the tests.
"""

import ast
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from graphlib import TopologicalSorter
from html import escape

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from headsweep.config import config_root

SOURCE = config_root() / "src" / "headsweep"
WIDTH, HIGH, APART = 260, 88, 40
"""Width and height of a box, and the room between two rows, in pixels."""

COLUMNS = {"report": 1, "sweep": 1, "training": 1, "features": 1, "backbone": 1, "events": 1}
COLUMNS |= {"store": 2, "stats": 2}
"""Where a package stands, so that no arrow crosses a box; the row follows from the imports."""

GROUND = ("errors", "files", "config", "identity", "instantiate", "terminal")
"""Modules outside the packages, which every package may import."""

STYLE = """
text { font: 13px sans-serif; fill: #222 } .name { font-weight: bold; font-size: 15px }
rect { fill: #eef2fa; stroke: #3f51b5 } .ground { fill: #f4f4f4; stroke: #888 }
.paper { fill: white; stroke: none }
line { stroke: #666; stroke-width: 1.3; marker-end: url(#tip) }
"""

TIP = (
    '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" '
    'orient="auto"><path d="M0 0 8 4 0 8z" fill="#666"/></marker></defs>'
)
"""The tip of an arrow."""


@dataclass(frozen=True)
class Box:
    """A box of a picture: name, words, and the place of its centre in columns and rows."""

    name: str
    words: str
    column: float
    row: int
    kind: str = ""

    @property
    def x(self) -> float:
        """Centre, in pixels."""
        return 20 + WIDTH / 2 + self.column * (WIDTH + 30)

    @property
    def y(self) -> float:
        """Upper edge, in pixels."""
        return 20 + self.row * (HIGH + APART)

    def svg(self) -> str:
        """The box as SVG."""
        middle = f'x="{self.x}" text-anchor="middle"'
        lines = [f'<text {middle} y="{self.y + 22}" class="name">{escape(self.name)}</text>']
        for i, line in enumerate(textwrap.wrap(self.words, 36)):
            lines.append(f'<text {middle} y="{self.y + 42 + 16 * i}">{escape(line)}</text>')
        size = f'width="{WIDTH}" height="{HIGH}" rx="6"'
        left = self.x - WIDTH / 2
        return f'<rect class="{self.kind}" x="{left}" y="{self.y}" {size}/>{"".join(lines)}'


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pictures to the site."""
    for name, text in pictures().items():
        files.append(File.generated(config, f"pictures/{name}.svg", content=text))
    return files


def pictures() -> dict[str, str]:
    """Both pictures, as SVG."""
    return {"packages": packages(), "sweep": running_sweep()}


def packages() -> str:
    """The packages in rows: each imports only what stands below it."""
    imports = package_imports()
    order = [*TopologicalSorter(imports).static_order()][::-1]
    rows: dict[str, int] = {}
    for name in order:  # right below the lowest that imports it
        rows[name] = 1 + max((rows[user] for user in rows if name in imports[user]), default=-1)
    boxes = {name: Box(name, purpose(name), COLUMNS.get(name, 0), rows[name]) for name in order}
    arrows = [(a, b) for a, below in imports.items() for b in direct(below, imports)]
    bottom = max(rows.values()) + 1
    boxes[""] = Box("all may import", ", ".join(GROUND), 1, bottom, "ground")
    return drawing(boxes, arrows)


def package_imports() -> dict[str, set[str]]:
    """The packages that each package imports, anywhere in its files."""
    names = {path.parent.name for path in SOURCE.glob("*/__init__.py")}
    found: dict[str, set[str]] = {name: set() for name in names}
    for path in SOURCE.glob("*/**/*.py"):
        package = path.relative_to(SOURCE).parts[0]
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("headsweep."):
                found[package].add(node.module.split(".")[1])
    return {name: (found[name] & names) - {name} for name in names}


def direct(below: set[str], imports: Mapping[str, set[str]]) -> set[str]:
    """The packages of a set that no other of the set imports: what is left to draw."""
    return {name for name in below if not any(name in imports[other] for other in below)}


def purpose(name: str) -> str:
    """The first line of a package's docstring."""
    doc = ast.get_docstring(ast.parse((SOURCE / name / "__init__.py").read_text())) or ""
    return doc.partition("\n")[0].rstrip(".")


def running_sweep() -> str:
    """From the command line to the report."""
    steps = (
        Box("headsweep train", "compose the configuration, check all of it", 1, 0),
        Box("prepare", "simulate or read events, fill the feature cache, write spec.yaml", 1, 1),
        Box("queue", "one lock, a lease for each job at work", 1, 2),
        Box("worker 1", "train the seeds of one job", 0, 3),
        Box("worker 2", "train the seeds of one job", 1, 3),
        Box("worker N", "here, or on another machine", 2, 3),
        Box("jobs/NUMBER/seed_S", "weights, curves, predictions: the source of truth", 1, 4),
        Box("headsweep report", "score the weights on dev, compare, draw", 0, 5),
        Box("MLflow", "a copy, written by the command", 2, 5, "ground"),
    )
    boxes = {box.name: box for box in steps}
    workers = ["worker 1", "worker 2", "worker N"]
    stored = "jobs/NUMBER/seed_S"
    arrows = [("headsweep train", "prepare"), ("prepare", "queue")]
    arrows += [("queue", worker) for worker in workers] + [(worker, stored) for worker in workers]
    arrows += [(stored, "headsweep report"), (stored, "MLflow")]
    return drawing(boxes, arrows)


def drawing(boxes: Mapping[str, Box], arrows: list[tuple[str, str]]) -> str:
    """Boxes and arrows between them, from the lower edge of one to the upper edge of the other."""
    width = max(box.x for box in boxes.values()) + WIDTH / 2 + 20
    height = max(box.y for box in boxes.values()) + HIGH + 20
    lines = []
    for start, end in sorted(arrows):
        a, b = boxes[start], boxes[end]
        lean = (b.x - a.x) * 0.12
        lines.append(
            f'<line x1="{a.x + lean}" y1="{a.y + HIGH}" x2="{b.x - lean}" y2="{b.y - 2}"/>'
        )
    lines += [box.svg() for box in boxes.values()]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}">'
        f"<style>{STYLE}</style>{TIP}<rect class='paper' width='100%' height='100%'/>"
        f"{''.join(lines)}</svg>\n"
    )
