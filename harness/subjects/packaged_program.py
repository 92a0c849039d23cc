"""What the catalogue of packaged subjects says about one of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from foothold_lab.harness.subjects.subject import TIMEOUT
from foothold_lab.images.debian_arch import AMD64, Port

IMAGE = "{image}"  # placeholder for the path of the image of a program


@dataclass(frozen=True, kw_only=True)
class PackagedProgram:
    """A subject of the catalogue: its title, its image, its command line.

    package: the Debian package that goes into the image and gives it its version; a version that
        starts with a digit is that of a wheel.
    ready_pattern, ready_port, ready_notify, timeout: as in a plan.
    refuses_root: it runs as any user but root.
    ends: it has to end by itself, with status 0 and a line that matches `ready_pattern`.
    starts_in_image: it finds its own files only there. Others start in a fresh directory, so that what
        they write, such as the log of a crash, does not change their image.
    port: the machine of its image, which is named as this machine's.
    """

    title: str
    image: str
    argv: tuple[str, ...]
    ready_pattern: str = ""
    package: str
    environment: Mapping[str, str] = field(default_factory=dict)
    ends: bool = True
    starts_in_image: bool = False
    ready_port: int = 0
    refuses_root: bool = False
    timeout: float = TIMEOUT
    port: Port = AMD64
