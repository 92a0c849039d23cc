"""A cell as a tarball: what it is made of, and a script that runs it and needs nothing of ours."""

from __future__ import annotations

import re
import shutil
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path

from foothold_lab.harness.interactive.recorded_cell import Past
from foothold_lab.harness.interactive.standalone_export import put
from foothold_lab.harness.model.errors import InfrastructureError, UnsupportedError, UsageError
from foothold_lab.images.builder import Builder

# how tarfile calls each form, and how hard it should try: its own choice takes three times as long
_FORMS: Mapping[str, tuple[str, Mapping[str, int]]] = {
    ".tar": ("w", {}),
    ".gz": ("w:gz", {"compresslevel": 5}),
    ".tgz": ("w:gz", {"compresslevel": 5}),
    ".xz": ("w:xz", {"preset": 3}),
}
_SCRIPT = Path(__file__).with_name("repro.sh")
_README = """\
# {title}

`./repro` runs it again and prints what the subject did; see the head of that script.

* `recorded/cell`   what was seen when this was made: the report, the maps, the system calls
* `recorded/guest`  of the guest: the command line that booted it, its console, its address space
* everything else   kernel, root file system, subject, and the agent that starts and watches it

Made by Foothold from run {run}; there it is
`{command}`
"""


def write(past: Past, builder: Builder, file: Path) -> None:
    """Write the tarball of a cell. `builder` has the images of its run.

    Raises UsageError for a name that says no form, UnsupportedError for a cell that cannot go.
    """
    form = _FORMS.get(file.suffix)
    if form is None:
        raise UsageError(f"{file}: a tarball of which form?", f"end it in {', '.join(_FORMS)}")
    if past.subject.root == "host":
        raise UnsupportedError(
            f"{past.cell.id} runs on the root of this machine, which does not go into a tarball",
            "run it with --root image, if its program can be brought along",
        )
    name = re.sub(r"[^A-Za-z0-9.+-]+", "-", past.cell.id)
    with tempfile.TemporaryDirectory(prefix="foothold-") as scratch:
        tree = Path(scratch) / name
        tree.mkdir()
        command = put(past, builder, tree)
        _describe(past, tree, command)
        try:
            _pack(tree, file, *form)
        except OSError as error:
            file.unlink(missing_ok=True)
            raise InfrastructureError(
                f"{file} cannot be written: {error.strerror}", "give --bundle another file"
            ) from error


def _describe(past: Past, tree: Path, command: str) -> None:
    """Write the script, and beside it what was seen in the run."""
    title = f"{past.cell.id} of {past.run}"
    native = past.cell.guest == "native"
    python = 'python="${PYTHON:-$(command -v python3)}"\n\t' if native else ""
    values = {
        "TITLE": title,
        "MACHINE": "x86-64",
        "NEEDS": ", and python3 as it is there" if native and past.subject.reports else "",
        "COMMAND": python + command,
        "THEN": str(past.verdict.observed or "no answer").replace('"', "'"),
    }
    script = _SCRIPT.read_text()
    for name, value in values.items():
        script = script.replace(f"@{name}@", value)
    (tree / "repro").write_text(script)
    (tree / "repro").chmod(0o755)
    readme = _README.format(title=title, run=past.run, command=" ".join(past.cell.command))
    (tree / "README.md").write_text(readme)
    shutil.copytree(past.evidence, tree / "recorded/cell")
    keys = shutil.ignore_patterns("share", "*.cpio", "vmlinux")
    shutil.copytree(past.guest, tree / "recorded/guest", ignore=keys)
    for manifest in ("root/manifest.json", "kernel/manifest.json"):
        (tree / manifest).unlink(missing_ok=True)  # of the cache


def _pack(tree: Path, file: Path, form: str, effort: Mapping[str, int]) -> None:
    """Pack it, owned by root and without times, so that the same is packed in the same way."""

    def anybodys(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.uid = member.gid = member.mtime = 0
        member.uname = member.gname = "root"
        member.mode |= 0o600 if member.isreg() else 0o700  # images are read-only in places
        return member

    with tarfile.open(file, form, **effort) as archive:  # type: ignore[call-overload]
        archive.add(tree, tree.name, filter=anybodys)
