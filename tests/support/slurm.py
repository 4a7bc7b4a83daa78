"""A Slurm of two nodes on this host: Debian's own daemons, on 127.0.0.1, each ended by its process id."""

from __future__ import annotations

import os
import platform
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel", "scontrol")

CONF = """
ClusterName=two
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
ReturnToService=2
KillWait=20
SlurmdTimeout=20
MpiDefault=none
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={first} CPUs=1 RealMemory=4000
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={second} CPUs=1 RealMemory=4000
PartitionName=cpu Nodes=n[1-2] Default=YES MaxTime=INFINITE State=UP
"""


def missing() -> str:
    """Why there can be no Slurm here; empty if there can."""
    if lacking := [name for name in PROGRAMS if shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin") is None]:
        return f"no {', '.join(lacking)}: apt-get install slurmctld slurmd slurm-client munge"
    return "" if os.geteuid() == 0 else "its daemons start as root"


def _free_ports(number: int) -> list[int]:
    """Ports of this host that nobody listens to."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


class Cluster:
    """Two nodes, n1 and n2, of one CPU each."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.env = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf"), "PATH": f"{os.environ['PATH']}:/usr/sbin"}
        self.daemons: dict[str, subprocess.Popen[bytes]] = {}
        host = platform.node()
        port, first, second = _free_ports(3)
        text = CONF.format(host=host, folder=folder, port=port, first=first, second=second)
        (folder / "slurm.conf").write_text(text)
        (folder / "state").mkdir()
        (folder / "munge.key").write_bytes(secrets.token_bytes(1024))
        (folder / "munge.key").chmod(0o600)

    def start(self, name: str, *words: str) -> None:
        """Start a daemon, or one that ended again."""
        command = [shutil.which(words[0], path=self.env["PATH"]) or words[0], *words[1:]]
        with (self.folder / f"{name}.out").open("ab") as log:
            self.daemons[name] = subprocess.Popen(
                command, env=self.env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def start_node(self, name: str) -> None:
        """Start the daemon of a node."""
        self.start(name, "slurmd", "-D", "-N", name, "-f", str(self.folder / "slurm.conf"))

    def said(self, *words: str) -> str:
        """What a client prints; it has twenty seconds."""
        done = subprocess.run(words, env=self.env, capture_output=True, text=True, timeout=20, check=False)
        return done.stdout + done.stderr

    def jobs(self) -> list[str]:
        """Numbers of the jobs that are running."""
        return self.said("squeue", "-h", "-t", "R", "-o", "%i").split()

    def until(self, what: str, happens: object, seconds: float = 60) -> None:
        """Wait for something."""
        end = time.monotonic() + seconds
        while not happens():  # type: ignore[operator]
            assert time.monotonic() < end, f"{what}: {self.said('squeue')}{self.said('sinfo')}"
            time.sleep(0.1)


@contextmanager
def two_nodes() -> Iterator[Cluster]:
    """A cluster whose nodes are idle; ended with all its jobs."""
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))
    cluster = Cluster(folder)
    files = {name: str(folder / f"munge.{name}") for name in ("key", "socket", "pid", "log", "seed")}
    try:
        options = [f"--{name}{'' if name == 'socket' else '-file'}={path}" for name, path in files.items()]
        cluster.start("munged", "munged", "--foreground", "--force", *options)
        cluster.until("munged", lambda: (folder / "munge.socket").exists())
        cluster.start("slurmctld", "slurmctld", "-D", "-f", str(folder / "slurm.conf"))
        for name in ("n1", "n2"):
            cluster.start_node(name)
        cluster.until("both idle", lambda: cluster.said("sinfo", "-h", "-t", "idle", "-o", "%D").strip() == "2")
        yield cluster
    finally:
        if "slurmctld" in cluster.daemons:
            cluster.said("scancel", "-u", "root")
            end = time.monotonic() + 30
            while cluster.said("squeue", "-h").strip() and time.monotonic() < end:
                time.sleep(0.2)
        for daemon in reversed(cluster.daemons.values()):
            daemon.terminate()
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        shutil.rmtree(folder, ignore_errors=True)
