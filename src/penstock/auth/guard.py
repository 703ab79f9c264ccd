"""The one guard: every identity is established, and every listening address admitted, here."""

from ipaddress import ip_address
from typing import Final, NamedTuple

ANONYMOUS: Final = "ANONYMOUS"


class Identity(NamedTuple):
    """Who a session acts as."""

    user: str


class AuthenticationError(Exception):
    """The peer did not show who it is. The message may be told to the peer."""


class ListenRefusedError(Exception):
    """The broker would be open to others than intended. The message says what to do."""


class Guard:
    """Establishes identities. There are no users yet: whoever reaches the port is the same, anonymous one.

    So the port itself is the fence: an address beyond this machine needs ``allow_anonymous``.
    """

    def __init__(self, allow_anonymous: bool = False) -> None:
        self.allow_anonymous = allow_anonymous
        self.mechanisms: tuple[str, ...] = (ANONYMOUS,)

    def authenticate(self, mechanism: str, response: bytes) -> Identity:
        """Return who a peer is. Raises AuthenticationError."""
        if mechanism not in self.mechanisms:
            raise AuthenticationError(f"this broker does not offer that mechanism; it offers {self.mechanisms[0]}")
        if response:
            raise AuthenticationError(f"{ANONYMOUS} takes an empty response")
        return Identity("anonymous")

    def check_listen(self, host: str) -> None:
        """Raise ListenRefusedError unless the broker may listen on ``host``."""
        if not self.allow_anonymous and not is_loopback(host):
            raise ListenRefusedError(
                f"refusing to listen on {host}: there are no users, so anyone who reaches it could do anything;"
                " listen on 127.0.0.1, or allow that with --allow-anonymous"
            )


def is_loopback(host: str) -> bool:
    """True when only this machine can reach ``host``; a name other than localhost counts as reachable."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
