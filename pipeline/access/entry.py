"""Who may use the page where others can reach it: who has the token, once shown as a cookie."""

import hashlib
import hmac
import ipaddress
import secrets
import socket
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from pathlib import Path

from helper import UserError, read_file, shown

COOKIE = "ml_ops_pipeline"
SHORTEST, LONGEST = 16, 1024  # characters of a token
ENTER = "/enter"
MOST_FORM_BYTES = 4 * LONGEST
LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})


@dataclass(frozen=True)
class Access:
    """By which names the page may be asked for, and the token that it then asks for, if it does."""

    hosts: frozenset[str]
    any_address: bool = False  # by each address of this machine, as no page can choose one of those
    token: str = ""

    @classmethod
    def at(cls, host: str, token_file: Path | None = None) -> "Access":
        """To a page that is served at `host`; where others reach that, with a token.

        Raises:
            UserError: the token file cannot be used.
        """
        token = read_token(token_file) if token_file else ""
        if is_loopback(host):
            return cls(LOOPBACK | {bracketed(host)}, token=token)
        everywhere = host in ("0.0.0.0", "::", "")
        names = {socket.gethostname().lower()} if everywhere else {bracketed(host).lower()}
        return cls(LOOPBACK | names, everywhere, token or secrets.token_urlsafe())

    def is_name(self, host: str) -> bool:
        """Whether a browser that sends this Host, without its port, meant this page."""
        return host in self.hosts or (self.any_address and is_address(host))

    def may_enter(self, cookies: str) -> bool:
        if not self.token:
            return True
        try:
            sent = SimpleCookie(cookies).get(COOKIE)
        except CookieError:
            return False
        return sent is not None and same(sent.value, self.proof())

    def is_token(self, text: str) -> bool:
        return same(text.strip(), self.token)

    def proof(self) -> str:
        """What the cookie holds: it says that its owner had the token, and not what that is."""
        return hmac.new(self.token.encode(), b"cookie", hashlib.sha256).hexdigest()

    def cookie(self) -> str:
        return f"{COOKIE}={self.proof()}; HttpOnly; SameSite=Strict; Path=/"


def read_token(path: Path) -> str:
    try:
        token = read_file(path, LONGEST).decode("ascii").strip()
    except OSError as error:
        raise UserError(
            f"cannot read the token in {shown(path)}: {error.strerror or error}."
        ) from None
    except UnicodeDecodeError:
        token = ""
    if len(token) < SHORTEST or not token.isprintable():
        raise UserError(
            f"{shown(path)} holds no token: expected one line of {SHORTEST} or more ASCII characters."
            f' Make one: python3 -c "import secrets; print(secrets.token_urlsafe())" > {shown(path)}'
        )
    return token


def same(text: str, other: str) -> bool:
    """Whether they are equal, in a time that does not tell how much of them is."""
    return hmac.compare_digest(text.encode(), other.encode())


def is_loopback(host: str) -> bool:
    return host == "localhost" or (is_address(host) and ipaddress.ip_address(host).is_loopback)


def is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True


def bracketed(host: str) -> str:
    """`host` as it stands in an address of the web."""
    return f"[{host}]" if ":" in host else host
