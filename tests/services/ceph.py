"""Ceph's S3 gateway on loopback: one monitor, one object daemon, one gateway, in a temporary folder.

As a script (`python -m services.ceph` in tests/) it starts one, prints the AWS environment for it and stays until
Ctrl-C. Needs Debian's packages ceph-mon, ceph-osd, radosgw and ceph-common.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from services.endpoint import S3Endpoint, free_port, wait_until_open

PROGRAMS = ("ceph", "ceph-authtool", "ceph-mon", "ceph-osd", "monmaptool", "radosgw", "radosgw-admin")
PACKAGES = "ceph-mon ceph-osd radosgw ceph-common"

_CONFIG = """
[global]
fsid = {fsid}
mon host = v2:127.0.0.1:{mon_v2}/0,v1:127.0.0.1:{mon_v1}/0
keyring = {folder}/keyring
log file = {folder}/$name.log
admin socket = {folder}/$name.asok
run dir = {folder}
public addr = 127.0.0.1
cluster addr = 127.0.0.1
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 8
osd pool default pgp num = 8
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
osd crush update on start = false
mon allow pool size one = true
mon warn on pool no redundancy = false
mon max pg per osd = 2000
mon data avail warn = 1
mon data avail crit = 0
auth allow insecure global id reclaim = false
# The default of a second per decision makes creating the gateway's pools take a minute.
paxos propose interval = 0.05
[mon]
mon data = {folder}/mon
[osd]
osd data = {folder}/osd
osd objectstore = memstore
memstore device bytes = 4294967296
osd class load list = *
osd class default list = *
[client]
rgw data = {folder}/rgw
rgw thread pool size = 64
rgw run sync thread = false
rgw dns name = localhost
"""


def missing_programs() -> list[str]:
    return [program for program in PROGRAMS if shutil.which(program) is None]


@contextmanager
def running_ceph() -> Iterator[S3Endpoint]:
    """A gateway with one user for as long as the block lasts; about five seconds to start, one to stop."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="farm-ceph-")))
        cluster = _Cluster(folder, stack)
        cluster.start_monitor()
        cluster.start_object_daemon()
        endpoint = cluster.start_gateway()
        yield endpoint


class _Cluster:
    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self.stack = stack
        self.fsid = str(uuid.uuid4())
        self.mon_v2, self.mon_v1 = free_port(), free_port()
        for name in ("mon", "osd", "rgw"):
            (folder / name).mkdir()
        text = _CONFIG.format(fsid=self.fsid, folder=folder, mon_v2=self.mon_v2, mon_v1=self.mon_v1)
        (folder / "ceph.conf").write_text(text)

    def start_monitor(self) -> None:
        keyring = str(self.folder / "keyring")
        everything = ["--cap", "mon", "allow *", "--cap", "osd", "allow *"]
        _run("ceph-authtool", "--create-keyring", keyring, "--gen-key", "-n", "mon.", "--cap", "mon", "allow *")
        for name in ("client.admin", "osd.0", "client.rgw"):
            _run("ceph-authtool", keyring, "--gen-key", "-n", name, *everything)
        addresses = f"[v2:127.0.0.1:{self.mon_v2},v1:127.0.0.1:{self.mon_v1}]"
        monmap = str(self.folder / "monmap")
        _run("monmaptool", "--create", "--addv", "a", addresses, "--fsid", self.fsid, monmap)
        self._run("ceph-mon", "--mkfs", "-i", "a", "--monmap", monmap, "--keyring", keyring)
        self._start("ceph-mon", "-i", "a")

    def start_object_daemon(self) -> None:
        self._run("ceph", "osd", "create")
        self._run("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", str(uuid.uuid4()))
        self._run("ceph", "osd", "crush", "add", "osd.0", "1.0", "host=localhost", "root=default")
        self._start("ceph-osd", "-i", "0")
        deadline = time.monotonic() + 60
        while "1 up" not in self._run("ceph", "osd", "stat"):
            if time.monotonic() > deadline:
                raise TimeoutError("the object daemon is not up after 60 s")
            time.sleep(0.1)

    def start_gateway(self) -> S3Endpoint:
        port = free_port()
        endpoint = S3Endpoint(url=f"http://127.0.0.1:{port}", access_key="testing", secret_key="testing-secret")
        keys = ["--access-key", endpoint.access_key, "--secret-key", endpoint.secret_key]
        self._run("radosgw-admin", "user", "create", "--uid", "farm", "--display-name", "farm", *keys)
        self._start("radosgw", "-n", "client.rgw", "--rgw-frontends", f"beast endpoint=127.0.0.1:{port}")
        wait_until_open(port, timeout_s=60)
        return endpoint

    def _run(self, program: str, *arguments: str) -> str:
        return _run(program, "-c", str(self.folder / "ceph.conf"), *arguments)

    def _start(self, program: str, *arguments: str) -> None:
        command = [program, "-c", str(self.folder / "ceph.conf"), "-f", *arguments]
        daemon = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.stack.callback(_stop, daemon)


def _run(program: str, *arguments: str) -> str:
    done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=90)
    if done.returncode != 0:
        raise RuntimeError(f"{program} {' '.join(arguments)} ended with {done.returncode}: {done.stderr[-2000:]}")
    return done.stdout


def _stop(daemon: subprocess.Popen[bytes]) -> None:
    # Nothing of it is kept, so there is nothing to shut down in order; the object daemon would take seconds.
    daemon.kill()
    daemon.wait(timeout=10)


if __name__ == "__main__":
    if missing_programs():
        sys.exit(f"not installed: {', '.join(missing_programs())}; apt-get install {PACKAGES}")
    with running_ceph() as running:
        for name, value in running.environment.items():
            print(f"export {name}={value}")
        print("# Ctrl-C ends it", flush=True)
        with suppress(KeyboardInterrupt):
            signal.pause()
