"""A head that fails in every way in which a training can fail."""

from pathlib import Path

MODULE = '''
import os, signal, time
from pathlib import Path
import torch
from torch import nn

class Trouble(nn.Module):
    """A head that does what its mode says when it is first used."""

    def __init__(self, in_dim: int, out_dim: int, mode: str):
        super().__init__()
        self.mode, self.last = mode, nn.Linear(in_dim, out_dim)

    def forward(self, x):
        if self.training and not Path(__file__).with_name(f"mended-{self.mode}").exists():
            if self.mode == "raises":
                raise RuntimeError("no such tensor")
            if self.mode == "kills":
                os.kill(os.getpid(), signal.SIGKILL)
            if self.mode == "sleeps":
                time.sleep(60)
            if self.mode == "diverges":
                return self.last(x) * float("nan")
        return self.last(x)
'''

MODES = ("fine", "raises", "kills", "diverges", "sleeps")


def write_trouble(folder: Path) -> list[str]:
    """Write ``trouble.py`` and its YAML; returns the arguments that choose this head."""
    (folder / "trouble.py").write_text(MODULE)
    conf = folder / "conf" / "head"
    conf.mkdir(parents=True)
    (conf / "trouble.yaml").write_text("_target_: trouble.Trouble\nmode: fine\n")
    return ["--config-dir", str(conf.parent), "head=trouble", "allow=trouble"]


def mend(folder: Path, mode: str) -> None:
    """Let a mode fail no more, and leave the code as it is: other code would be another job."""
    (folder / f"mended-{mode}").touch()
