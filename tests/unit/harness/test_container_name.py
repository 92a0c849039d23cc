"""Names of containers with an image of the user."""

from __future__ import annotations

import pytest

from foothold_lab.harness.guests.catalogue import find_guest
from foothold_lab.harness.model.container_name import parse_container
from foothold_lab.harness.model.errors import UsageError
from foothold_lab.harness.plan import Vocabulary

DIGEST = f"sha256:{'0123456789abcdef' * 4}"


@pytest.mark.parametrize(
    "name",
    [
        "docker:alpine",
        "docker:debian:bookworm-slim",
        "docker:registry.example:5000/team/server:1.2_3",
        f"docker:debian@{DIGEST}",
        f"docker:debian:12@{DIGEST}+read-only+runtime=runsc",
        "docker:alpine+read-only",
    ],
)
def test_a_name_is_its_own_canonical_form(name: str) -> None:
    assert str(parse_container(name)) == name
    assert Vocabulary({}, ()).resolve_guest(name) == name
    kind = find_guest({}, name)
    assert kind.name == name
    assert "/" not in kind.label


def test_parts() -> None:
    found = parse_container(f"docker:team/server:1@{DIGEST}+runtime=runsc")
    assert found
    assert (found.image, found.digest, found.runtime) == ("team/server:1", DIGEST, "runsc")
    assert (found.repository, found.tag) == ("team/server", "1")
    assert found.reference == f"team/server:1@{DIGEST}"
    assert not found.read_only


def test_the_port_of_a_registry_is_no_tag() -> None:
    found = parse_container("docker:localhost:5000/server")
    assert found
    assert (found.repository, found.tag) == ("localhost:5000/server", "")


def test_the_order_of_options_makes_no_other_guest() -> None:
    vocabulary = Vocabulary({}, ())
    assert (
        vocabulary.resolve_guest("docker:a+runtime=r+read-only")
        == vocabulary.resolve_guest("docker:a+read-only+runtime=r")
        == "docker:a+read-only+runtime=r"
    )


@pytest.mark.parametrize("name", ["docker", "native", "podman.io/alpine", "uml-6.1"])
def test_other_guests(name: str) -> None:
    assert parse_container(name) is None


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("docker:", "'' is not the name of an image"),
        ("docker:../../etc", "is not the name of an image"),
        ("docker:a b", "'a b' is not the name of an image"),
        ("docker:--privileged", "is not the name of an image"),
        ("docker:alpine@sha256:12", "'sha256:12' is not a digest"),
        ("docker:alpine@latest", "'latest' is not a digest"),
        ("docker:alpine+privileged", "'privileged' is not an option"),
        ("docker:alpine+runtime=", "'runtime=' is not an option"),
        ("docker:alpine+runtime=a+runtime=b", "is not an option"),
        ("docker:alpine+read-only+read-only", "'read-only' is not an option"),
    ],
)
def test_rejects(name: str, problem: str) -> None:
    with pytest.raises(UsageError, match=problem) as caught:
        Vocabulary({}, ()).resolve_guest(name)
    assert caught.value.remedy
