"""A place as in a container: all disks read-only but one folder, nobody's user, no environment."""

import compileall
import os
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from hatchling.builders.wheel import WheelBuilder

from headsweep.config import config_root

SCRIPT = """#!{python}
import sys

from headsweep.cli import main

sys.exit(main())
"""

SEVERAL = """
import sys
from headsweep.cli import main

for line in sys.argv[1:]:
    sys.argv = ["headsweep", *line.split()]
    try:
        main()
    except SystemExit as end:
        code = end.code or 0
    for stream in (sys.stdout, sys.stderr):
        print(f"\\0{code}", file=stream, flush=True)
"""
"""Program that runs one command after the other, each with its exit code behind its outputs."""

USER = "12345"
"""An identifier that no file of users has a name for."""

ROOT = os.geteuid() == 0
ENTER = ["unshare", *([] if ROOT else ["--map-root-user"]), "--mount"]


def why_not() -> str | None:
    """Why this machine lets nobody make such a place; None where it does."""
    tools = [name for name in ("unshare", "nsenter") if shutil.which(name) is None]
    if tools:
        return f"no {' and no '.join(tools)} here"
    tried = [*ENTER, "sh", "-c", "mount -t tmpfs none /mnt && unshare -U --map-user=1 true"]
    done = subprocess.run(tried, capture_output=True, text=True, check=False)
    return None if done.returncode == 0 else f"no mounts here: {done.stderr.strip()}"


def install(folder: Path) -> Path:
    """Build the wheel, and install it into an environment of its own; gives its ``headsweep``."""
    [wheel] = WheelBuilder(str(config_root())).build(directory=str(folder), versions=["standard"])
    environment = folder / "env"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    (packages,) = environment.glob("lib/*/site-packages")
    zipfile.ZipFile(wheel).extractall(packages)
    assert compileall.compile_dir(packages, quiet=1)  # as pip does, here once for all processes
    others = [path for path in sys.path if path.endswith("site-packages")]
    (packages / "others.pth").write_text("\n".join(others) + "\n")
    command = environment / "bin" / "headsweep"
    command.write_text(SCRIPT.format(python=environment / "bin" / "python"))
    command.chmod(0o755)
    return command


class Container:
    """A mount namespace of its own, which ends with ``close``.

    Attributes:
        work: The only folder that can be written, by its name inside.
        outside: The same folder, as other processes see it.

    Args:
        folder: Of the installation; ``work`` lies in it.
    """

    def __init__(self, folder: Path) -> None:
        self.command = install(folder)
        self.work = folder / "work"
        self.work.mkdir()
        setup = f"""
            set -e
            mount -t tmpfs -o size=64m none {shlex.quote(str(self.work))}
            for disk in / /dev/shm; do
                if mountpoint -q $disk; then mount -o remount,bind,ro $disk; fi
            done
            echo ready
            exec sleep infinity
        """
        self.holder = subprocess.Popen(
            [*ENTER, "sh", "-c", setup], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL
        )
        assert self.holder.stdout is not None
        assert self.holder.stdout.readline() == b"ready\n"
        self.outside = Path(f"/proc/{self.holder.pid}/root{self.work}")
        (self.outside / "tmp").mkdir()

    def close(self) -> None:
        """End it; what was mounted goes with it."""
        self.holder.kill()
        self.holder.communicate()

    def manage(self, script: str) -> None:
        """Run a shell script with the right to mount, in the folder ``work``."""
        subprocess.run([*self._enter(self.work), "sh", "-ec", script], check=True)

    def shell(self, script: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a shell script in the folder ``work`` as the user; ``$H`` is the command.

        Args:
            script: For ``sh``; without a terminal and with nothing on its standard input.
            environment: All that there is beside a short PATH.
        """
        known = {"PATH": "/usr/bin:/bin", "TMPDIR": str(self.work / "tmp"), **environment}
        user = ["unshare", "--user", f"--map-user={USER}", f"--map-group={USER}"]
        clean = ["env", "-i", f"H={self.command}", *(f"{k}={v}" for k, v in known.items())]
        return subprocess.run(
            [*self._enter(self.work), *user, *clean, "sh", "-c", script],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run ``headsweep`` there; see ``shell``."""
        return self.shell(f'"$H" {shlex.join(arguments)}', **environment)

    def run_all(self, *lines: str, **environment: str) -> list[subprocess.CompletedProcess[str]]:
        """Run commands in one process, which imports everything but once; see ``shell``."""
        python = shlex.quote(str(self.command.with_name("python")))
        done = self.shell(f"{python} -c {shlex.quote(SEVERAL)} {shlex.join(lines)}", **environment)
        outs, errs = (re.split("\0([0-9]+)\n", text) for text in (done.stdout, done.stderr))
        assert len(outs) == len(errs) == 2 * len(lines) + 1, done
        return [
            subprocess.CompletedProcess(line, int(code), out, err)
            for line, out, code, err in zip(lines, outs[::2], outs[1::2], errs[::2], strict=False)
        ]

    def _enter(self, folder: Path) -> list[str]:
        user = [] if ROOT else ["--user", "--preserve-credentials"]
        return ["nsenter", "--target", str(self.holder.pid), *user, "--mount", f"--wdns={folder}"]
