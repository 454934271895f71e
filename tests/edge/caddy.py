"""Caddy as deploy/Caddyfile configures it, in front of `edge-api serve`."""

import os
import shutil
import ssl
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import httpx

from edge_api.local.packages import PROJECT
from edge_api.local.processes import Child, Ids, on_free_port

CADDYFILE: Final = PROJECT / "deploy" / "Caddyfile"
SITE: Final = "localhost"  # for which Caddy makes a certificate itself
_UNPRIVILEGED: Final = Ids(65534, 65534)  # nobody's


@dataclass(frozen=True)
class Front:
    """A running Caddy."""

    port: int
    context: ssl.SSLContext  # trusts its certificate authority
    child: Child

    @property
    def url(self) -> str:
        return f"https://{SITE}:{self.port}"

    def client(self, **options: Any) -> httpx.Client:
        return httpx.Client(
            **{"base_url": self.url, "verify": self.context, "timeout": 40, "trust_env": False, **options}
        )


@contextmanager
def caddy(*upstreams: str, wait: bool = True, **settings: str) -> Iterator[Front]:
    """Run Caddy on a free port of its own, as an unprivileged user.

    Args:
        upstreams: the addresses, host:port, of what it is in front of.
        wait: until one of them is ready.
        settings: of the Caddyfile, over those of the tests.
    """
    # not pytest's folder, in which root alone can look
    folder = Path(tempfile.mkdtemp(prefix="edge-api-caddy-"))
    try:
        data = folder / "data"
        data.mkdir()
        program = Path(sys.executable).with_name("caddy")
        user = _UNPRIVILEGED if os.geteuid() == 0 else None
        if user is not None:
            folder.chmod(0o711)
            os.chown(data, *user)
            program = Path(shutil.copy(program, folder))  # root's checkout may be closed to others

        def start(port: int) -> Child:
            child = Child(
                "Caddy",
                [program, "run", "--config", "-", "--adapter", "caddyfile"],
                log=folder / "caddy.log",
                cwd=data,
                env={
                    "HOME": str(data),
                    "PROXY_HTTPS_PORT": str(port),
                    "PROXY_UPSTREAMS": " ".join(upstreams),
                    "PROXY_HEALTH_INTERVAL": "100ms",
                    **settings,
                },
                stdin=CADDYFILE.read_bytes(),
                user=user,
            )
            try:
                child.wait_until(authority.exists, seconds=30)
                child.wait_until(partial(_serves, port, authority, is_ready=wait), seconds=30)
            except BaseException:
                child.stop(grace_seconds=5)
                raise
            return child

        authority = data / ".local/share/caddy/pki/authorities/local/root.crt"
        child, port = on_free_port(None, start)
        try:
            yield Front(port, ssl.create_default_context(cafile=authority), child)
        finally:
            child.stop(grace_seconds=1)  # it would wait for connections that a test has left
    finally:
        shutil.rmtree(folder)


def _serves(port: int, authority: Path, *, is_ready: bool) -> bool:
    """Whether Caddy responds at all, or also has an upstream that is ready: that one asks for a token."""
    try:
        context = ssl.create_default_context(cafile=authority)
        path = "/api/accounts" if is_ready else "/"
        response = httpx.get(f"https://{SITE}:{port}{path}", verify=context, timeout=20, trust_env=False)
    except (OSError, httpx.TransportError):
        return False
    return response.status_code == (401 if is_ready else 404)
