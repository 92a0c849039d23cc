"""The name of a container guest: the engine, the image of the user, and how it is started.

`docker:IMAGE[@DIGEST][+read-only][+runtime=NAME]`, or the same with `podman:`. What changes the
address space or what a subject may do is part of the name, so that two such guests are never taken
for the same.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from foothold_lab.harness.model.errors import UsageError

ENGINE_NAMES = ("docker", "podman")
READ_ONLY, RUNTIME = "read-only", "runtime="

# distribution/reference: a registry, a repository and a tag
_IMAGE = re.compile(
    r"[A-Za-z0-9][A-Za-z0-9._-]*(:[0-9]+)?(/[a-z0-9][a-z0-9._-]*)*(:[\w][\w.-]{0,127})?"
)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_RUNTIME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_FORM = "write {0}:IMAGE, {0}:IMAGE@sha256:DIGEST, {0}:IMAGE+read-only, or {0}:IMAGE+runtime=NAME"


@dataclass(frozen=True, kw_only=True)
class ContainerName:
    """What the name of a container guest says.

    image: as the engine names it, without its digest; digest: `sha256:` and 64 digits, of the image
        in its registry or its ID; empty: any.
    read_only: whether its root file system is read-only.
    runtime: the OCI runtime of the engine; empty: its default.
    """

    engine: str
    image: str
    digest: str = ""
    read_only: bool = False
    runtime: str = ""

    @property
    def repository(self) -> str:
        """The name of the image without its tag."""
        return self.image.removesuffix(f":{self.tag}")

    @property
    def tag(self) -> str:
        """The tag of the image; empty if its name has none: then the engine takes `latest`."""
        return self.image.rpartition("/")[2].partition(":")[2]

    @property
    def reference(self) -> str:
        """The image with its digest, as an engine takes it."""
        return f"{self.image}@{self.digest}" if self.digest else self.image

    def __str__(self) -> str:
        read_only = f"+{READ_ONLY}" if self.read_only else ""
        runtime = f"+{RUNTIME}{self.runtime}" if self.runtime else ""
        return f"{self.engine}:{self.reference}{read_only}{runtime}"


def parse_container(name: str) -> ContainerName | None:
    """Return what the name of a container with an image of the user says; None for another guest.

    Raises UsageError for a name that begins as one and is not valid.
    """
    engine, colon, rest = name.partition(":")
    if engine not in ENGINE_NAMES or not colon:
        return None
    reference, *options = rest.split("+")
    image, at, digest = reference.partition("@")
    if not _IMAGE.fullmatch(image):
        raise UsageError(f"{name!r}: {image!r} is not the name of an image", _FORM.format(engine))
    if at and not _DIGEST.fullmatch(digest):
        remedy = (
            f"give sha256: and 64 hexadecimal digits, as `{engine} images --digests` prints them"
        )
        raise UsageError(f"{name!r}: {digest!r} is not a digest", remedy)
    runtime = next((each.removeprefix(RUNTIME) for each in options if each.startswith(RUNTIME)), "")
    for each in options:
        known = each == READ_ONLY or (each.startswith(RUNTIME) and _RUNTIME.fullmatch(runtime))
        if not known or options.count(each) > 1 or each not in (READ_ONLY, f"{RUNTIME}{runtime}"):
            raise UsageError(
                f"{name!r}: {each!r} is not an option of a container", _FORM.format(engine)
            )
    return ContainerName(
        engine=engine, image=image, digest=digest, read_only=READ_ONLY in options, runtime=runtime
    )
