"""The software bill of materials: valid for the format, and complete for each image."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from foothold_lab.harness.cli.context import OK, USAGE
from foothold_lab.harness.cli.main import main
from foothold_lab.images import lock, registry
from foothold_lab.images.builder import Builder
from foothold_lab.images.catalogue import RECIPES
from foothold_lab.images.sbom import sbom


@pytest.fixture(scope="module")
def bill() -> dict[str, object]:
    return sbom(Builder(), RECIPES, "1.2.3")


def test_follows_the_schema_of_the_format(bill: dict[str, object]) -> None:
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(bill)) is None


def test_has_every_locked_package_with_its_hash(bill: dict[str, object]) -> None:
    tested = lock.read(lock.TESTED).sets.values()
    used = {recipe.packages.name for recipe in RECIPES.values() if recipe.packages}
    locked = {deb.sha256 for name, debs in lock.read(lock.TESTED).sets.items() if name in used
              for deb in debs}  # fmt: skip
    files = [each for name in RECIPES for each in registry.files_of(name)]
    hashes = {
        each["hashes"][0]["content"]
        for each in bill["components"]
        if "hashes" in each  # type: ignore
    }
    assert tested
    assert {registry.digest(each) for each in files} <= hashes
    assert locked <= hashes


def test_names_a_package_as_the_purl_specification_does(bill: dict[str, object]) -> None:
    purls = {each.get("purl", "") for each in bill["components"]}  # type: ignore[attr-defined]
    found = [each for each in purls if each.startswith("pkg:deb/debian/libc6@")]
    assert any(each.endswith("?arch=amd64&distro=bookworm") for each in found)
    assert any(each.endswith("?arch=arm64&distro=trixie") for each in found), found
    assert any(each.startswith("pkg:npm/%40esbuild/linux-x64@") for each in purls)
    assert not [each for each in purls if "+" in each or " " in each]


def test_an_image_depends_on_its_packages_and_images(bill: dict[str, object]) -> None:
    parts = {each["ref"]: each["dependsOn"] for each in bill["dependencies"]}  # type: ignore[attr-defined]
    uml = parts["image:uml-bookworm"]
    assert any(each.startswith("pkg:deb/debian/user-mode-linux@6.1") for each in uml)
    for name, recipe in RECIPES.items():
        assert {f"image:{each}" for each in recipe.needs} <= set(parts[f"image:{name}"])


def test_of_a_plan(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "bill.json"
    assert main(["images", "sbom", "--for", "default", str(file)]) == OK
    bill = json.loads(file.read_text())
    names = {each["name"] for each in bill["components"] if each["type"] == "file"}
    assert "root" in names and len(names) < len(RECIPES)
    assert main(["images", "sbom", "--for", "default"]) == OK
    assert json.loads(capsys.readouterr().out) == bill
    assert main(["images", "sbom", "--for", "no-such-plan"]) == USAGE
