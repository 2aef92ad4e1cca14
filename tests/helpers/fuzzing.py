"""A thousand damaged inputs, each with the command it concerns: no traceback, no hang, no silence.

``make fuzz`` runs all of them, the suite fifty. A process that has imported everything forks a
child for each case; the child damages its own copy of a specimen, runs the command line, with what
its workers do, and says how that ended. A case is drawn from the seed, its kind and its number
alone, so that ``--only KIND:NUMBER`` repeats it.
"""

import argparse
import gc
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import pytest

from headsweep.config import config_root
from helpers.command import work_here
from helpers.fuzz_kinds import KINDS, Kind, make_specimen

HANG_SECONDS = 10.0
"""Seconds of a command after which it hangs, by the clock of an idle machine."""

WRONG = ("traceback", "hang", "silent")
ENDS = ("refused", "accepted", *WRONG)
"""Ways in which a case may end, as the columns of the table."""


@dataclass(frozen=True)
class End:
    """How one case ended.

    Attributes:
        kind: Name of its kind.
        number: Of the case within the kind.
        how: One of ``ENDS``.
        what: The damage, and the command.
        text: Last lines that it printed, or what was silently wrong.
    """

    kind: str
    number: int
    how: str
    what: str
    text: str

    def words(self) -> str:
        """The case with all that is needed to look into it."""
        return f"{self.how.upper()} {self.kind}:{self.number}: {self.what}\n    {self.text}"


def warm_up() -> None:
    """Import everything that a command may import; no thread may be started."""
    warnings.simplefilter("ignore")
    import torch

    torch.set_num_threads(1)
    source = config_root() / "src" / "headsweep"
    for path in sorted(source.rglob("*.py")):
        name = ".".join(path.relative_to(source.parent).with_suffix("").parts)
        import_module(name.removesuffix(".__init__"))
    for name in ("h5py", "mlflow", "mlflow.store.tracking.sqlalchemy_store", "matplotlib.pyplot"):
        import_module(name)
    from headsweep.sweep.compose import compose_single, open_loader

    with open_loader(None) as loader:  # reads the shipped files
        compose_single(loader, [])
    gc.collect()
    gc.freeze()


def _fill(specimen: Path) -> None:
    """Make the specimen in a forked process: its commands start threads, which no fork survives."""
    with tempfile.TemporaryFile("w+") as output:
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                for stream in (1, 2):
                    os.dup2(output.fileno(), stream)
                make_specimen(specimen)
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        _, status = os.waitpid(pid, 0)
        output.seek(0)
        assert status == 0, output.read()


def _child(kind: Kind, number: int, seed: int, place: Path, specimen: Path) -> None:
    """Run one case in this forked process, which it ends; the report is left in ``place``."""
    os.setsid()
    rng = random.Random(f"{seed} {kind.name} {number}")
    os.environ["HYDRA_FULL_ERROR"] = "1"
    work = place / "work"
    work.mkdir(parents=True)
    os.chdir(work)
    for name in kind.parts:
        shutil.copytree(specimen / name, work / name, symlinks=True)
    what, arguments = kind.draw(work, rng)
    (place / "what").write_text(f"{what}; headsweep {' '.join(arguments)}", errors="replace")
    with (place / "output").open("wb") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    tempfile.tempdir = str(place)
    sys.argv = ["headsweep", *arguments]
    from headsweep import cli

    code: object = 1
    try:
        cli.main()
    except SystemExit as end:
        code = end.code or 0
    except BaseException:
        traceback.print_exc()
        code = 3
    silent = ""
    if code == 0:
        try:
            silent = kind.check(work, specimen) or ""
        except BaseException:
            silent = f"the check failed: {traceback.format_exc()}"
    sys.stdout.flush()
    sys.stderr.flush()
    (place / "end").write_text(json.dumps({"code": code, "silent": silent}))
    os._exit(0)


def _look(kind: Kind, number: int, place: Path, hung: bool) -> End:
    """How a case ended, from what its child left."""

    def read(path: Path) -> str:
        return path.read_text(errors="replace") if path.exists() else ""

    what, text = read(place / "what"), read(place / "output")
    end = json.loads(read(place / "end") or "{}")
    tail = " | ".join(line for line in text.splitlines() if line.strip())[-400:]
    kept = [read(path) for path in place.glob("headsweep-*.txt")]
    if hung:
        return End(kind.name, number, "hang", what, tail)
    if "code" not in end or end["code"] == 3 or "Traceback (most recent" in text or kept:
        where = "".join(kept)[-900:] if kept else tail
        return End(kind.name, number, "traceback", what, where)
    if end["silent"]:
        return End(kind.name, number, "silent", what, end["silent"])
    return End(kind.name, number, "accepted" if end["code"] == 0 else "refused", what, tail)


def run(
    cases: Sequence[tuple[Kind, int]],
    seed: int,
    specimen: Path,
    hang: float = HANG_SECONDS,
    side_by_side: int = 2,
) -> Iterator[End]:
    """Run cases, each in a forked child; yields them as they end.

    Args:
        cases: Kind and number of each.
        seed: Of all of them.
        specimen: Folder that ``make_specimen`` filled.
        hang: Seconds after which a command hangs.
        side_by_side: Number of children at once.
    """
    waiting = list(reversed(cases))
    working: dict[int, tuple[Kind, int, Path, float]] = {}
    with tempfile.TemporaryDirectory(prefix="headsweep-fuzz-") as folder:
        while waiting or working:
            while waiting and len(working) < side_by_side:
                kind, number = waiting.pop()
                place = Path(folder) / f"{kind.name}-{number}"
                pid = os.fork()
                if pid == 0:
                    try:
                        _child(kind, number, seed, place, specimen)
                    finally:
                        traceback.print_exc()
                        os._exit(1)
                working[pid] = (kind, number, place, time.monotonic())
            time.sleep(0.003)
            for pid, (kind, number, place, since) in list(working.items()):
                ended, _ = os.waitpid(pid, os.WNOHANG)
                hung = not ended and time.monotonic() - since > hang
                if not ended and not hung:
                    continue
                with suppress(ProcessLookupError):
                    os.killpg(pid, signal.SIGKILL)  # its workers, too
                if hung:
                    os.waitpid(pid, 0)
                del working[pid]
                yield _look(kind, number, place, hung)
                shutil.rmtree(place, ignore_errors=True)


def draw(count: int, only: str | None = None) -> list[tuple[Kind, int]]:
    """Cases of all kinds, by their shares; with ``only`` one case or one kind."""
    if only is not None:
        name, _, number = only.partition(":")
        (kind,) = [kind for kind in KINDS if kind.name == name]
        return [(kind, int(number))] if number else [(kind, n) for n in range(count)]
    total = sum(kind.share for kind in KINDS)
    return [(k, n) for k in KINDS for n in range(max(1, round(count * k.share / total)))]


def table(ends: Sequence[End]) -> str:
    """Counts of each end by kind."""
    counts = Counter((end.kind, end.how) for end in ends)
    names = [*dict.fromkeys(end.kind for end in ends)]
    rows = [[name, *(str(counts[name, how]) for how in ENDS)] for name in names]
    rows.append(["all", *(str(sum(end.how == how for end in ends)) for how in ENDS)])
    lines = [["kind", *ENDS], *rows]
    return "\n".join(f"{row[0]:12}" + "".join(f"{cell:>11}" for cell in row[1:]) for row in lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``make fuzz``; ``FUZZ="--seed 3 --only weights:7"`` chooses."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--hang", type=float, default=HANG_SECONDS, help="seconds")
    parser.add_argument("--only", help="KIND or KIND:NUMBER")
    parser.add_argument("--specimen", type=Path, help="keep the specimen there, and use it again")
    options = parser.parse_args(argv)
    since = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="headsweep-specimen-") as folder:
        specimen = options.specimen or Path(folder)
        warm_up()
        if not any(specimen.glob("*")):
            _fill(specimen)
        work_here(pytest.MonkeyPatch())
        ends = []
        for end in run(draw(options.cases, options.only), options.seed, specimen, options.hang):
            ends.append(end)
            if end.how in WRONG or options.only:
                print(end.words(), flush=True)
    print(table(ends))
    print(f"seed {options.seed}, {time.monotonic() - since:.0f} s; one case again:")
    print(f'  make fuzz FUZZ="--seed {options.seed} --only KIND:NUMBER"')
    return 1 if any(end.how in WRONG for end in ends) else 0


if __name__ == "__main__":
    sys.exit(main())
