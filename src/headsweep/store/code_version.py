"""Version of the code that trained a job."""

import subprocess
from functools import lru_cache

from headsweep import __version__
from headsweep.config import config_root


@lru_cache(maxsize=1)
def code_version() -> str:
    """Version of the package; from a checkout with its commit, marked where it was changed."""
    root = config_root()
    if not (root / ".git").exists():
        return __version__
    command = ["git", "-C", str(root), "describe", "--always", "--dirty"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return __version__
    return f"{__version__}+{found.stdout.strip()}"
