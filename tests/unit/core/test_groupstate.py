import pytest
from tests.unit.core.harness import Core

from penstock.core import groups
from penstock.core.facts import GroupStateSet
from penstock.core.group import Group
from penstock.core.groupstate import (
    ABSENT,
    ANY_VERSION,
    STATE_BYTES_MAX,
    STATE_KEYS_MAX,
    STATE_VALUE_BYTES_MAX,
    check_state,
    has_changed,
    last_version,
    state_values,
)
from penstock.core.values import Refused


@pytest.fixture
def core() -> Core:
    return Core()


@pytest.fixture
def group(core: Core) -> Group:
    return core.group(core.queue(), "billing")


def put(core: Core, group: Group, key: str, value: bytes) -> None:
    fact = GroupStateSet(group.queue.number, group.number, last_version(group) + 1, key, value)
    core.broker.emit(True, fact)


def test_a_group_has_no_state_until_something_is_set(core: Core, group: Group) -> None:
    assert group.state is None
    assert state_values(group) == {}
    put(core, group, "seen", b"\x07")
    assert state_values(group)["seen"].data == b"\x07"


def test_a_version_tells_whether_a_key_has_changed(core: Core, group: Group) -> None:
    assert not has_changed(group, "seen", ABSENT)
    put(core, group, "seen", b"\x07")
    version = state_values(group)["seen"].version
    assert not has_changed(group, "seen", version)
    assert not has_changed(group, "seen", ANY_VERSION)
    assert has_changed(group, "seen", ABSENT)
    put(core, group, "seen", b"\x07")
    assert has_changed(group, "seen", version)


def test_versions_are_not_used_again_after_a_removal(core: Core, group: Group) -> None:
    put(core, group, "seen", b"\x07")
    before = state_values(group)["seen"].version
    put(core, group, "seen", b"")
    assert not has_changed(group, "seen", ABSENT)
    put(core, group, "seen", b"\x08")
    assert has_changed(group, "seen", before)


def test_versions_are_not_used_again_after_the_group_was_deleted(core: Core, group: Group) -> None:
    queue = group.queue
    put(core, group, "seen", b"\x07")
    named = state_values(group)["seen"].version
    groups.delete_group(core.broker, group)
    again = core.group(queue, "billing")
    assert state_values(again) == {}
    put(core, again, "seen", b"\x08")
    assert has_changed(again, "seen", named)

    default = groups.default_group(core.broker, queue, core.now_ms)
    put(core, default, "seen", b"\x07")
    before = state_values(default)["seen"].version
    groups.delete_group(core.broker, default)
    assert state_values(queue.group) == {}
    put(core, queue.group, "seen", b"\x08")
    assert has_changed(queue.group, "seen", before)


def test_a_state_is_bounded(core: Core, group: Group) -> None:
    """I13."""
    check_state(group, {f"k{n}": b"x" for n in range(STATE_KEYS_MAX)})
    put(core, group, "old", b"x" * STATE_VALUE_BYTES_MAX)
    too_much: list[dict[str, bytes]] = [
        {"k": b"x" * (STATE_VALUE_BYTES_MAX + 1)},
        {f"k{n}": b"x" for n in range(STATE_KEYS_MAX)},
        {f"k{n}": b"x" * STATE_VALUE_BYTES_MAX for n in range(STATE_BYTES_MAX // STATE_VALUE_BYTES_MAX)},
    ]
    for changes in too_much:
        with pytest.raises(Refused, match="state of group 'billing'") as refused:
            check_state(group, changes)
        assert refused.value.refusal.code == "limit-reached"
    check_state(group, {**too_much[1], "old": b""})


@pytest.mark.parametrize("key", ["", "x" * 256, "a\nb"])
def test_a_key_is_a_name(group: Group, key: str) -> None:
    with pytest.raises(Refused) as refused:
        check_state(group, {key: b"x"})
    assert refused.value.refusal.code == "bad-name"
