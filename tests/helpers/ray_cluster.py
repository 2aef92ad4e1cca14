"""A real Ray cluster of two nodes on loopback, with all its files in one folder.

Run as a script it is the cluster, so that Ray stays out of the tests' own process: it prints its
address and the number of the second node's process, and a line on its standard input lets that
node vanish.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp

from helpers.waiting import wait_for

MEMORY = 80 * 2**20
"""Bytes of the store of objects of each node, which nothing is put into."""


@dataclass
class Ray:
    """A cluster of Ray, in which each node has room for one worker.

    Attributes:
        process: It.
        address: Of its head.
        node: Process of its second node, above the workers there.
        environment: Variables that its programs need.
    """

    process: subprocess.Popen[str]
    address: str
    node: int
    environment: dict[str, str]

    def vanish(self) -> None:
        """Let the second node vanish."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()


@contextmanager
def ray_cluster() -> Iterator[Ray]:
    """A running cluster."""
    folder = Path(mkdtemp(prefix="hsray-"))  # a socket's path must be short
    environment = {
        "RAY_AUTH_MODE": "disabled",  # else there would be a token in the home
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_worker_niceness": "0",  # else they starve beside the other tests
        "RAY_TMPDIR": str(folder),
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # all on 127.0.0.1, as on those systems
    }
    log = folder / "log"
    with log.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, __file__],
            env=os.environ | environment | {"PYTHONPATH": os.pathsep.join(sys.path)},
            stdin=subprocess.PIPE,
            stdout=file,
            stderr=file,
            text=True,
        )
    try:
        begins = "cluster "
        lines = wait_for(
            lambda: [x for x in log.read_text().splitlines() if x.startswith(begins)], process
        )
        address, node = lines[0].removeprefix(begins).split()
        yield Ray(process, address, int(node), environment)
    finally:
        process.communicate(timeout=120)
        shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    """Be the cluster, until the standard input ends."""
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 1, "include_dashboard": False, "object_store_memory": MEMORY}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    node = cluster.add_node(num_cpus=1, object_store_memory=MEMORY)
    print("cluster", cluster.address, node.all_processes["raylet"][0].process.pid, flush=True)
    for _ in sys.stdin:
        cluster.remove_node(node, allow_graceful=False)
    cluster.shutdown()


if __name__ == "__main__":
    main()
