"""A real Slurm with one node, on loopback, with all its files in one folder."""

import os
import pwd
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import mkdtemp

import psutil

from helpers.serving import free_port

PROGRAMS = {
    name: shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin:/sbin")
    for name in (
        "munged",
        "slurmctld",
        "slurmd",
        "sinfo",
        "squeue",
        "sbatch",
        "srun",
        "scontrol",
        "scancel",
    )
}
MISSING = [name for name, path in PROGRAMS.items() if path is None]
"""Programs that this machine does not have."""

HOST = socket.gethostname().partition(".")[0]
"""Name of the node."""

START_SECONDS = 90
"""Time that Slurm may take to start."""

CONFIG = """\
ClusterName=headsweep
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={daemon}
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge/socket,cred_expire=5
SlurmUser={user}
SlurmdUser={user}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
KillWait=10
SlurmdTimeout=30
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0,sched_interval=1,bf_interval=1
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs=4 Gres=gpu:4 State=UNKNOWN
PartitionName=gpu Nodes={host} Default=YES MaxTime=300 State=UP
"""
"""A requeued job of Slurm waits until its credential has expired, by default for two minutes."""


@dataclass
class Slurm:
    """A Slurm of one node.

    Attributes:
        folder: All its files.
        servers: Its programs that run, by name.
    """

    folder: Path
    servers: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        """Variables that its commands need."""
        return {"SLURM_CONF": str(self.folder / "slurm.conf")}

    def ask(self, program: str, *arguments: str) -> str:
        """What one of its commands prints; empty where it fails."""
        command = [PROGRAMS[program] or program, *arguments]
        environment = os.environ | self.environment
        run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        return run.stdout if run.returncode == 0 else ""

    def start(self, name: str, *arguments: str) -> None:
        """Start one of its servers."""
        with (self.folder / "out.log").open("ab") as log:
            self.servers[name] = subprocess.Popen(
                [PROGRAMS[name] or name, *arguments],
                env=os.environ | self.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def start_node(self) -> None:
        """Start the node, and wait until jobs may run on it."""
        self.start("slurmd", "-D", "-f", self.environment["SLURM_CONF"])
        self.wait(lambda: self.ask("sinfo", "-h", "-o", "%t").startswith(("idle", "mix", "alloc")))

    def vanish(self, job: Sequence[psutil.Process]) -> None:
        """Kill all of the node, and some processes of a job with it; then it comes back."""
        self.servers["slurmd"].kill()
        self.servers["slurmd"].wait()
        _kill([*self.steps(), *job])
        _kill(self.of_jobs())  # the scripts that the steps had started
        # What the controller finds out by itself when a node has been silent for some minutes.
        node = [f"NodeName={HOST}", "Reason=vanished"]
        self.ask("scontrol", "update", *node, "State=DOWN")
        self.ask("scontrol", "update", *node, "State=RESUME")
        self.start_node()

    def steps(self) -> list[psutil.Process]:
        """Slurm's processes above those of the jobs, which outlive the node's server."""
        found = []
        for process in psutil.process_iter(["name"]):
            with suppress(psutil.NoSuchProcess):
                if process.info["name"] == "slurmstepd" and any(
                    child.environ().get("SLURM_CONF") == self.environment["SLURM_CONF"]
                    for child in process.children()
                ):
                    found.append(process)
        return found

    def of_jobs(self) -> list[psutil.Process]:
        """Processes of all jobs: what has its configuration and is none of its servers."""
        found, servers = [], {server.pid for server in self.servers.values()}
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if (
                    process.pid not in {*servers, os.getpid()}
                    and process.environ().get("SLURM_CONF") == self.environment["SLURM_CONF"]
                    and "SLURM_JOB_ID" in process.environ()
                ):
                    found.append(process)
        return found

    def wait(self, condition: Callable[[], object]) -> None:
        """Wait for a condition while all servers live.

        Raises:
            RuntimeError: One has ended, or it takes too long; with the end of all logs.
        """
        end = time.monotonic() + START_SECONDS
        while not condition():
            dead = [name for name, server in self.servers.items() if server.poll() is not None]
            if dead or time.monotonic() > end:
                logs = [*sorted(self.folder.glob("*.log")), self.folder / "munge/log"]
                words = [f"{x}:\n{x.read_text()[-3000:]}" for x in logs if x.exists()]
                raise RuntimeError("\n".join(["Slurm does not start", *dead, *words]))
            time.sleep(0.1)

    def stop(self) -> None:
        """Stop all that runs, and remove the files."""
        self.ask("scancel", "--full", "--user", str(os.getuid()))
        with suppress(RuntimeError):
            self.wait(lambda: not self.ask("squeue", "-h"))
        for server in reversed(self.servers.values()):
            server.terminate()
            try:
                server.wait(timeout=30)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()
        _kill(self.of_jobs())  # none is left behind, whatever a test has done
        shutil.rmtree(self.folder, ignore_errors=True)


def _kill(processes: Sequence[psutil.Process]) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()


@contextmanager
def slurm() -> Iterator[Slurm]:
    """A running Slurm.

    Raises:
        RuntimeError: It does not start; the message has the end of its logs.
    """
    folder = Path(mkdtemp(prefix="headsweep-slurm-"))  # a socket's path must be short
    for name in ("munge", "state", "spool"):
        (folder / name).mkdir()
    folder.chmod(0o755)  # munged asks for that, and for none in the temporary folder above
    key = folder / "munge/key"
    key.touch(0o600)
    key.write_bytes(secrets.token_bytes(128))
    (folder / "slurm.conf").write_text(
        CONFIG.format(
            host=HOST,
            folder=folder,
            controller=free_port(),
            daemon=free_port(),
            user=pwd.getpwuid(os.getuid()).pw_name,
        )
    )
    (folder / "gres.conf").write_text(f"Name=gpu File={folder}/gpu[0-3]\n")
    for number in range(4):  # Slurm gives out any files as GPUs
        (folder / f"gpu{number}").touch()
    found = Slurm(folder)
    munge = [f"--{name}-file={folder}/munge/{name}" for name in ("key", "pid", "seed", "log")]
    try:
        found.start("munged", "--foreground", "--force", f"--socket={folder}/munge/socket", *munge)
        found.wait((folder / "munge/socket").exists)
        found.start("slurmctld", "-D", "-f", found.environment["SLURM_CONF"])
        found.start_node()
        yield found
    finally:
        found.stop()
