"""Names and their namespaces."""

from __future__ import annotations

import pytest

from penstock.core.names import full_name, local_name, namespace_of
from penstock.core.values import Refused, check_name


@pytest.mark.parametrize(
    ("name", "space", "local"),
    [
        ("jobs", "", "jobs"),
        ("billing/jobs", "billing", "jobs"),
        ("billing/eu/jobs", "billing", "eu/jobs"),
        ("/jobs", "", "/jobs"),
        ("/", "", "/"),
        ("billing/", "billing", ""),
    ],
)
def test_what_is_before_the_first_slash_is_the_namespace(name: str, space: str, local: str) -> None:
    assert (namespace_of(name), local_name(name)) == (space, local)
    assert full_name(space, local) == name


@pytest.mark.parametrize("name", ["", "billing/", "$reply.1.2", "billing/$reply.1.2", "billing/a\n", "b/" + "x" * 254])
def test_rules_for_names_hold_inside_a_namespace_as_well(name: str) -> None:
    with pytest.raises(Refused) as refused:
        check_name(name)
    assert refused.value.refusal.code == "bad-name"
