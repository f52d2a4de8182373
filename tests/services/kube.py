"""A real kube-apiserver on loopback, with etcd behind it: admission, RBAC and conflicts, but nobody who starts pods.

It is Kubernetes 1.20, built by `tests/services/kube_apiserver.sh` from what Debian 12 ships, and looked for in
WANFARM_KUBE (/var/cache/wanfarm-kube).
"""

from __future__ import annotations

import json
import os
import shutil
import ssl
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from k8s.checks.rendering import kubectl, parsed
from services.endpoint import free_port

FOLDER = Path(os.environ.get("WANFARM_KUBE", "/var/cache/wanfarm-kube"))
START_S = 120.0
# Name, token and groups of those who may call.
USERS = {
    "admin": ("admin-token", "system:masters"),
    "submitter": ("submitter-token", "wanfarm-submitters"),
    "stranger": ("stranger-token", "strangers"),
}


def missing() -> list[str]:
    """What has to be built or installed first."""
    found = [] if (FOLDER / "kube-apiserver").exists() else [str(FOLDER / "kube-apiserver")]
    return [*found, *(program for program in ("etcd", "openssl") if shutil.which(program) is None)]


@dataclass(frozen=True, slots=True, kw_only=True)
class KubeServer:
    """A server that runs, and how to ask it as one of `USERS`."""

    folder: Path

    def config(self, user: str) -> Path:
        """A kubeconfig."""
        return self.folder / f"{user}.kubeconfig"

    def run(self, *arguments: str, user: str = "admin", stdin: str = "") -> subprocess.CompletedProcess[str]:
        """kubectl, whatever comes of it."""
        command = [kubectl(), f"--kubeconfig={self.config(user)}", *arguments]
        return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=120, check=False)

    def ask(self, *arguments: str, user: str = "admin", stdin: str = "") -> str:
        """What kubectl prints. RuntimeError where it fails."""
        done = self.run(*arguments, user=user, stdin=stdin)
        if done.returncode:
            raise RuntimeError(f"kubectl {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout

    def tried(self, objects: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """The objects as the server would store them: admitted, defaults filled in, unknown fields cut away."""
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})
        flags = ["--dry-run=server", "--validate=false", "--output=yaml", "--filename=-"]
        return parsed(self.ask("create", *flags, stdin=text))


@contextmanager
def running_kube() -> Iterator[KubeServer]:
    """For as long as the block lasts; some five seconds to start."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="farm-kube-")))
        etcd, peers, port = free_port(), free_port(), free_port()
        _start_etcd(folder, stack, port=etcd, peers=peers)
        _start_server(folder, stack, port=port, etcd=etcd)
        for user, (token, _) in USERS.items():
            (folder / f"{user}.kubeconfig").write_text(yaml.safe_dump(_kubeconfig(token, port)))
        _await_ready(port)
        yield KubeServer(folder=folder)


def old_enough(definition: dict[str, Any]) -> dict[str, Any]:
    """A definition of a kind as 1.20 takes it: without CEL, empty defaults, and keys of lists that are not required."""
    definition["metadata"].pop("annotations", None)
    for version in definition["spec"]["versions"]:
        _age(version["schema"]["openAPIV3Schema"])
    return definition


def _age(node: Any) -> None:
    if isinstance(node, list):
        for item in node:
            _age(item)
        return
    if not isinstance(node, dict):
        return
    node.pop("x-kubernetes-validations", None)
    if node.get("default") == "":
        del node["default"]
    for part in list(node.values()):
        _age(part)
    keys = node.get("x-kubernetes-list-map-keys")
    if isinstance(keys, list) and isinstance(node.get("items"), dict):
        items = node["items"]
        with_default = {name for name, part in items["properties"].items() if "default" in part}
        items["required"] = sorted({*items.get("required", []), *(set(keys) - with_default)})


def _start_etcd(folder: Path, stack: ExitStack, *, port: int, peers: int) -> None:
    here, others = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{peers}"
    places = ["--data-dir", str(folder / "etcd"), "--listen-client-urls", here, "--advertise-client-urls", here]
    _start(stack, folder / "etcd.log", "etcd", *places, "--listen-peer-urls", others, "--unsafe-no-fsync")


def _start_server(folder: Path, stack: ExitStack, *, port: int, etcd: int) -> None:
    key = folder / "accounts.key"
    subprocess.run(["openssl", "genrsa", "-out", str(key), "2048"], capture_output=True, timeout=60, check=True)
    lines = [f'{token},{name},{name},"{groups}"' for name, (token, groups) in USERS.items()]
    (folder / "tokens.csv").write_text("\n".join(lines))
    flags = {
        "etcd-servers": f"http://127.0.0.1:{etcd}",
        "cert-dir": folder / "certificates",
        "bind-address": "127.0.0.1",
        "advertise-address": "127.0.0.1",
        "secure-port": port,
        "insecure-port": 0,
        "token-auth-file": folder / "tokens.csv",
        "authorization-mode": "RBAC",
        "service-cluster-ip-range": "10.96.0.0/24",
        "service-account-issuer": "https://kube.test",
        "service-account-signing-key-file": key,
        "service-account-key-file": key,
        "api-audiences": "kube.test",
        "disable-admission-plugins": "ServiceAccount",
    }
    program = str(FOLDER / "kube-apiserver")
    _start(stack, folder / "server.log", program, *(f"--{name}={value}" for name, value in flags.items()))


def _start(stack: ExitStack, log: Path, program: str, *arguments: str) -> None:
    sink = stack.enter_context(log.open("wb"))
    daemon = subprocess.Popen([program, *arguments], stdout=sink, stderr=sink, cwd=log.parent)
    stack.callback(_stop, daemon)


def _stop(daemon: subprocess.Popen[bytes]) -> None:
    daemon.kill()
    daemon.wait(timeout=10)


def _await_ready(port: int) -> None:
    anybody = ssl.create_default_context()
    anybody.check_hostname, anybody.verify_mode = False, ssl.CERT_NONE
    request = urllib.request.Request(
        f"https://127.0.0.1:{port}/readyz", headers={"Authorization": f"Bearer {USERS['admin'][0]}"}
    )
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(request, timeout=5, context=anybody) as reply:
                if reply.read() == b"ok":
                    return
        except OSError:
            time.sleep(0.1)
    raise TimeoutError(f"kube-apiserver is not ready after {START_S:.0f} s")


def _kubeconfig(token: str, port: int) -> dict[str, Any]:
    where = {"server": f"https://127.0.0.1:{port}", "insecure-skip-tls-verify": True}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "test", "cluster": where}],
        "users": [{"name": "user", "user": {"token": token}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "user"}}],
        "current-context": "test",
    }
