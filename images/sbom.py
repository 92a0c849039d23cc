"""The software bill of materials of images, in the format CycloneDX 1.6.

It lists each image as a component, and the packages that it is made of, with version, hash and package
URL (purl). https://cyclonedx.org/docs/1.6/json/ defines the format. Nothing is downloaded or built,
unless a package is not locked yet.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import quote

from foothold_lab.images.apt import Deb
from foothold_lab.images.builder import Builder
from foothold_lab.images.npm import NpmPackage
from foothold_lab.images.wheels import Wheel

_PROGRAM = "foothold-lab"


def sbom(builder: Builder, names: Iterable[str], version: str) -> dict[str, object]:
    """Return the bill of these images and of all that they are made with.

    `version` is that of Foothold. The result has no date and no serial number, so that the bills of
    equal images are equal.
    """
    images = tuple(_closure(builder, names))
    packages: dict[str, Mapping[str, object]] = {}
    made_of = {}
    for name in images:
        found = {str(each["bom-ref"]): each for each in _packages(builder, name)}
        packages |= found
        needs = [_image(each) for each in builder.needs(name)]
        made_of[_image(name)] = sorted([*needs, *found])
    root = {"type": "application", "bom-ref": _PROGRAM, "name": _PROGRAM, "version": version}
    parts: list[Mapping[str, object]] = [
        {"type": "file", "bom-ref": _image(name), "name": name} for name in images
    ]
    made_of |= {_PROGRAM: [_image(name) for name in images]}
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": root},
        "components": parts + [packages[ref] for ref in sorted(packages)],
        "dependencies": [
            {"ref": ref, "dependsOn": parts} for ref, parts in sorted(made_of.items())
        ],
    }


def _closure(builder: Builder, names: Iterable[str]) -> Iterator[str]:
    """Yield these images and those that they are made with, each once, in the order of names."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += builder.needs(name)
    yield from sorted(found)


def _packages(builder: Builder, name: str) -> Iterator[dict[str, Any]]:
    for deb in builder.packages(name):
        yield _debian(deb)
    for file in builder.registry_files(name):
        yield _wheel(file) if isinstance(file, Wheel) else _npm(file)


def _debian(deb: Deb) -> dict[str, Any]:
    architecture = deb.file.rpartition("_")[2].removesuffix(".deb")
    where = f"arch={architecture}&distro={deb.suite}"
    purl = f"pkg:deb/debian/{quote(deb.package)}@{quote(deb.version, safe='')}?{where}"
    return _component(deb.package, deb.version, purl, "SHA-256", deb.sha256)


def _wheel(wheel: Wheel) -> dict[str, Any]:
    name = wheel.project.lower().replace("_", "-")
    purl = f"pkg:pypi/{name}@{quote(wheel.version)}?platform={quote(wheel.platform)}"
    return _component(wheel.project, wheel.version, purl, "SHA-256", wheel.sha256)


def _npm(package: NpmPackage) -> dict[str, Any]:
    purl = f"pkg:npm/{quote(package.name)}@{quote(package.version)}"
    return _component(package.name, package.version, purl, "SHA-512", package.sha512)


def _component(name: str, version: str, purl: str, algorithm: str, digest: str) -> dict[str, Any]:
    return {
        "type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl,
        "hashes": [{"alg": algorithm, "content": digest}],
    }  # fmt: skip


def _image(name: str) -> str:
    return f"image:{name}"
