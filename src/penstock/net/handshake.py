"""The server's half of the handshake, without I/O: what HELLO and AUTH must say, and what they are answered.

Which frame is legal when is the table in ``penstock_client.wire.connection``. An error is answered by CLOSE, preceded
by the preamble where that was not sent yet, so that even a peer that speaks another protocol gets a line that says what
it reached. Before READY a frame is at most 4 KiB and the whole takes at most five seconds (I15); the connection sees to
that.
"""

from typing import Any, Final, NamedTuple

from penstock.auth.guard import AuthenticationError, Guard, Identity
from penstock_client.wire import control
from penstock_client.wire.errors import ErrorCode, WireError
from penstock_client.wire.frames import PREAMBLE, Frame, FrameType, encode_frame
from penstock_client.wire.limits import FRAME_BYTES_MAX_BEFORE_READY, HEARTBEAT_MS_MIN, NAME_BYTES_MAX

SERVER_NAME: Final = "penstock"


class Offer(NamedTuple):
    """What the server tells about itself: the same for every connection."""

    version: str
    boot_epoch: int
    heartbeat_ms: int
    frame_bytes_max: int
    body_bytes_max: int
    window_messages: int
    window_bytes: int


class Handshake:
    """Takes HELLO, then AUTH; ends with an identity and what was agreed."""

    __slots__ = ("_guard", "_offer", "client_name", "heartbeat_ms", "identity", "namespace", "welcomed")

    def __init__(self, offer: Offer, guard: Guard) -> None:
        self._offer = offer
        self._guard = guard
        self.client_name = ""
        self.namespace = ""
        """The one that the client wants to be in."""
        self.heartbeat_ms = offer.heartbeat_ms
        self.identity: Identity | None = None
        self.welcomed = False
        """True once the preamble was sent."""

    def welcome(self, hello: Frame) -> bytes:
        """Return the preamble and the WELCOME frame that answer HELLO. Raises WireError."""
        arguments = _arguments(hello)
        client, version = _text(arguments, "client"), _text(arguments, "version")
        self.namespace = _name(arguments, "namespace")
        wished_ms = arguments.get("heartbeat_ms", 0)
        if type(wished_ms) is not int or wished_ms < 0:
            raise WireError(ErrorCode.MALFORMED_FRAME, "heartbeat_ms must be a whole number of milliseconds")
        if wished_ms:
            self.heartbeat_ms = max(HEARTBEAT_MS_MIN, min(wished_ms, self._offer.heartbeat_ms))
        self.welcomed = True
        self.client_name = f"{client}/{version}" if version else client
        answer = {
            "server": SERVER_NAME,
            "version": self._offer.version,
            "mechanisms": list(self._guard.mechanisms),
            "boot_epoch": self._offer.boot_epoch,
            "heartbeat_ms": self.heartbeat_ms,
        }
        return PREAMBLE + encode_frame(FrameType.WELCOME, control.pack(answer), hello.request)

    def authenticate(self, auth: Frame) -> None:
        """Establish the identity that AUTH shows. Raises WireError."""
        arguments = _arguments(auth)
        mechanism = _text(arguments, "mechanism")
        response = arguments.get("response", b"")
        if not isinstance(response, bytes):
            raise WireError(ErrorCode.MALFORMED_FRAME, "response must be bytes")
        try:
            self.identity = self._guard.authenticate(mechanism, response)
        except AuthenticationError as error:
            raise WireError(ErrorCode.AUTHENTICATION_FAILED, str(error)) from error

    def ready(self, request: int, session: int) -> bytes:
        """Return the READY frame of a session."""
        offer = self._offer
        answer = {
            "session": session,
            "frame_bytes_max": offer.frame_bytes_max,
            "body_bytes_max": offer.body_bytes_max,
            "window_messages": offer.window_messages,
            "window_bytes": offer.window_bytes,
            "heartbeat_ms": self.heartbeat_ms,
        }
        return encode_frame(FrameType.READY, control.pack(answer), request)


def _arguments(frame: Frame) -> dict[str, Any]:
    return control.unpack(frame.payload, FRAME_BYTES_MAX_BEFORE_READY)


def _name(arguments: dict[str, Any], key: str) -> str:
    """What is looked up among names: whether there is one like it is for the engine to say."""
    value = arguments.get(key, "")
    if not isinstance(value, str) or len(value.encode("utf-8", "surrogatepass")) > NAME_BYTES_MAX:
        raise WireError(ErrorCode.MALFORMED_FRAME, f"{key} must be text of at most {NAME_BYTES_MAX} bytes")
    return value


def _text(arguments: dict[str, Any], key: str) -> str:
    value = arguments.get(key, "")
    if not isinstance(value, str) or not value.isprintable() or len(value.encode()) > NAME_BYTES_MAX:
        raise WireError(ErrorCode.MALFORMED_FRAME, f"{key} must be printable text of at most {NAME_BYTES_MAX} bytes")
    return value
