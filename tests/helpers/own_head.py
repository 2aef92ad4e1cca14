"""A head of the user's own: one file and one YAML, outside the project."""

from pathlib import Path

MODULE = """
from torch import Tensor, nn


class Bottleneck(nn.Module):
    def __init__(
        self, in_dim: int, out_dim: int, width: int, rate: float | None, name: str = "narrow"
    ) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(in_dim, width), nn.Dropout(rate or 0.0), nn.Linear(width, out_dim)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)
"""


def write_head(folder: Path) -> Path:
    """Write ``own_heads.py`` and ``conf/head/bottleneck.yaml``; returns ``conf``."""
    (folder / "own_heads.py").write_text(MODULE)
    (folder / "conf/head").mkdir(parents=True)
    text = "_target_: own_heads.Bottleneck\nwidth: 8\nrate: 0.5\n"
    (folder / "conf/head/bottleneck.yaml").write_text(text)
    return folder / "conf"
