"""Who may ask: API keys, and protection of a server on loopback from the pages of other sites."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from hmac import compare_digest
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from actsr_cli.errors import ConfigError
from actsr_cli.serving.refusal import RefusalError

KEY_VARIABLE = "ACTSR_API_KEY"
_SHORTEST_KEY = 16
"""Characters."""
PROBES = frozenset({"/health", "/ready"})
"""Paths that tell about the process: they need no key, and are answered however many requests there are."""
_OPEN = PROBES | {"/"}
"""Paths that need no key. The page holds nothing of the model: its script asks for the key."""
_LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True)
class Access:
    """Who may ask.

    Attributes:
        keys: the SHA-256 digests of the API keys, which are compared in place of the keys; empty: none is needed.
        local: whether the server is bound to loopback.
    """

    keys: tuple[bytes, ...]
    local: bool

    def check(self, path: str, headers: Mapping[bytes, bytes]) -> None:
        """Check a request before anything of its body is read.

        Raises:
            RefusalError: it comes from a page of another site, or lacks a key.
        """
        if self.local:
            _check_site(headers)
        if self.keys and path not in _OPEN:
            self._check_key(headers.get(b"authorization", b""))

    def _check_key(self, given: bytes) -> None:
        scheme, _, key = given.partition(b" ")
        digest = sha256(key.strip()).digest()
        known = [compare_digest(digest, each) for each in self.keys]  # all of them: the time tells nothing
        if scheme.lower() != b"bearer" or not any(known):
            raise RefusalError(
                401,
                "the API key is wrong" if given else "there is no API key",
                "header.Authorization",
                "Send the header Authorization: Bearer KEY.",
                {"WWW-Authenticate": "Bearer"},
            )


def access(address: str, key_file: Path | None, from_environment: str | None) -> Access:
    """The access to a server that is bound to an address.

    Args:
        address: its IP address.
        key_file: a file with an API key in each line.
        from_environment: the value of `KEY_VARIABLE`.

    Raises:
        ConfigError: the address is not of loopback and there is no key, or a key is too short.
    """
    if key_file is not None and from_environment:
        raise ConfigError(f"there are two sources of API keys: --api-key-file and {KEY_VARIABLE}; give one")
    where = KEY_VARIABLE if key_file is None else str(key_file)
    text = from_environment or "" if key_file is None else key_file.read_text(encoding="utf-8-sig", errors="replace")
    keys = [key for line in text.splitlines() if (key := line.strip())]
    if (key_file is not None or from_environment) and not keys:
        raise ConfigError(f"{where} holds no API key", hint="Write one key per line.")
    if any(len(key) < _SHORTEST_KEY or not key.isascii() or " " in key for key in keys):
        raise ConfigError(
            f"an API key in {where} is unsafe: it needs at least {_SHORTEST_KEY} characters of ASCII, and no blank",
            hint="python -c 'import secrets; print(secrets.token_urlsafe(32))' makes a good one.",
        )
    local = ip_address(address.partition("%")[0]).is_loopback
    if not local and not keys:
        raise ConfigError(
            f"{address} can be reached from other machines, and there is no API key",
            hint=f"Give --api-key-file FILE or the environment variable {KEY_VARIABLE}, or bind to 127.0.0.1.",
        )
    return Access(tuple(sha256(key.encode()).digest() for key in keys), local)


def bound_socket(host: str, port: int) -> socket.socket:
    """A socket that is bound to a host and a port, and does not listen yet.

    Raises:
        ConfigError: there is no such host, or the port is taken or reserved.
    """
    try:
        *kind, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        bound = socket.socket(*kind)  # with its protocol: asyncio sends small answers at once on sockets of TCP alone
    except (OSError, UnicodeError) as error:
        raise ConfigError(f"there is no host '{host}': {getattr(error, 'strerror', error)}") from error
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError as error:
        bound.close()
        raise ConfigError(f"{host}:{port} cannot be used: {error.strerror}", hint="Choose another --port.") from error
    return bound


def _check_site(headers: Mapping[bytes, bytes]) -> None:
    """Refuse what a browser sends for a page of another site, also if its name leads to this machine.

    Raises:
        RefusalError: the request comes from such a page.
    """
    host = headers.get(b"host", b"").decode("latin-1")
    if _name(host) not in _LOOPBACK_NAMES:
        raise RefusalError(
            400, "this server answers only as localhost", "header.Host", "Use http://localhost and the port."
        )
    origin = headers.get(b"origin")
    if origin is not None and origin.decode("latin-1").partition("://")[2] != host:
        raise RefusalError(403, "pages of other sites may not ask", "header.Origin", "Open the page of this server.")


def _name(host: str) -> str:
    """The name of a host without its port; empty if it is none."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
