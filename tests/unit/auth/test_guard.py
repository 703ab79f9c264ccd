import pytest

from penstock.auth.guard import AuthenticationError, Guard, Identity, ListenRefusedError


def test_anonymous_is_the_one_mechanism_and_identity() -> None:
    guard = Guard()
    assert guard.mechanisms == ("ANONYMOUS",)
    assert guard.authenticate("ANONYMOUS", b"") == Identity("anonymous")


@pytest.mark.parametrize(
    ("mechanism", "response"), [("PLAIN", b""), ("", b""), ("anonymous", b""), ("ANONYMOUS", b"x")]
)
def test_anything_else_is_no_identity(mechanism: str, response: bytes) -> None:
    with pytest.raises(AuthenticationError):
        Guard().authenticate(mechanism, response)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "localhost"])
def test_this_machine_may_always_be_listened_on(host: str) -> None:
    Guard().check_listen(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.4", "broker.example", ""])
def test_beyond_this_machine_needs_permission_out_loud(host: str) -> None:
    with pytest.raises(ListenRefusedError, match="--allow-anonymous"):
        Guard().check_listen(host)
    Guard(allow_anonymous=True).check_listen(host)
