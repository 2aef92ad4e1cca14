"""Places as in a container: read-only, homeless, without a terminal, full, or hostile."""

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers import container
from helpers.command import SMALL
from helpers.container import Container

pytestmark = pytest.mark.slow

TASK = ["-m", "head=simpler,conservative", "seeds=2", *SMALL, "name=g"]
ASCII = {"PYTHONIOENCODING": "ascii", "LC_ALL": "C"}
NOISE = ("warning", "Warning", "Traceback", "Matplotlib", "font", "error")


@pytest.fixture(scope="module")
def place() -> Iterator[Container]:
    """An installation that cannot be written, with a root X that a grid was trained into."""
    if reason := container.why_not():
        pytest.skip(reason)
    # Not below the folder of pytest, in which only its user may look.
    folder = Path(tempfile.mkdtemp(prefix="headsweep-container-"))
    folder.chmod(0o755)
    made = Container(folder)
    try:
        done = made.run("train", *TASK, "root=X", "tracking=true", **ASCII)
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        assert done.stdout.isascii()
        yield made
    finally:
        made.close()
        shutil.rmtree(folder)


def members(root: Path) -> dict[str, dict[str, str]]:
    """Checksums of the files of every member below a root."""
    return {
        str(path.parent.relative_to(root)): json.loads(path.read_text())["files"]
        for path in root.glob("*/*/jobs/*/seed_*/result.json")
    }


def test_nothing_is_written_but_results_and_caches(place: Container) -> None:
    top = {path.name for path in place.outside.iterdir()}
    assert top == {"X", "tmp"}
    assert [path.name for path in (place.outside / "tmp").iterdir()] == [
        f"headsweep-{container.USER}"
    ]
    assert len(members(place.outside / "X")) == 4


def test_every_verb_works_without_a_word_of_caches(place: Container) -> None:
    for words in (
        "report g --root X",
        "list --root X",
        "plan g --root X",
        "sync --root X",
        "params",
        "clean --root X",
        "data inspect data=tiny data.source.events=60 root=X",
        "predict X/sweeps/g/jobs/0 new",
    ):
        if words.startswith("predict"):
            assert place.run("data", "simulate", "new", "--events", "20").returncode == 0
        done = place.run(*words.split(), **ASCII)
        assert done.returncode == 0, (words, done.stderr)
        assert done.stdout.isascii()
        assert not any(word in done.stderr for word in NOISE), (words, done.stderr)
