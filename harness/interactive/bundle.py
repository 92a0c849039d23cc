"""A cell as a tarball: what it is made of, and a script that runs it and needs nothing of ours."""

from __future__ import annotations

import re
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path

from foothold_lab.harness.interactive.recorded_cell import RecordedCell
from foothold_lab.harness.interactive.standalone_export import export_cell
from foothold_lab.harness.model.errors import InfrastructureError, UnsupportedError, UsageError
from foothold_lab.harness.model.escape import escape_line, escape_markdown, escape_shell
from foothold_lab.harness.model.findings import Code
from foothold_lab.harness.model.secret_values import masked_names
from foothold_lab.harness.run_directory import DAMAGED
from foothold_lab.images.builder import Builder

# how tarfile calls each form, and how hard it should try: its own choice takes three times as long
_FORMS: Mapping[str, tuple[str, Mapping[str, int]]] = {
    ".tar": ("w", {}),
    ".gz": ("w:gz", {"compresslevel": 5}),
    ".tgz": ("w:gz", {"compresslevel": 5}),
    ".xz": ("w:xz", {"preset": 3}),
}
_NOT_EVIDENCE = ("share", "initrd.cpio", "vmlinux")  # of the directory of a boot
_SCRIPT = Path(__file__).with_name("repro.sh")
_README = """\
# {title}

`./repro` runs this cell again and prints what the subject does. The head of the script says what it
needs.

| path | content |
|---|---|
| `recorded/cell` | evidence of the recorded run: report or output, maps, system calls, verdict |
| `recorded/guest` | the guest of the recorded run: command line, console, facts |
| `recorded/result` | the result of the recorded run |
| all other files | kernel, root file system, subject, and the agent that starts and watches it |

Foothold made this tarball from the run {run}. On a machine with Foothold, this command runs the
same cell with images of that machine:

    {command}
"""


def write(recorded: RecordedCell, builder: Builder, file: Path) -> None:
    """Write the tarball of a cell. `builder` has the images of its run.

    Raises UsageError for a name that says no form, UnsupportedError for a cell that cannot go.
    """
    form = _FORMS.get(file.suffix)
    if form is None:
        raise UsageError(f"{file}: a tarball of which form?", f"end it in {', '.join(_FORMS)}")
    if recorded.subject.root == "host":
        raise UnsupportedError(
            f"{recorded.cell.id} runs on the root of this machine, which does not go into a tarball",
            "run it with --root image, if its program can be brought along",
            code=Code.UNSUPPORTED_EXPORT,
        )
    if secrets := masked_names(recorded.subject.environment):
        raise UnsupportedError(
            f"the value of {', '.join(secrets)}, which the program needs, was not recorded",
            "run the cell with --keep-secrets, if its secrets may go into a tarball",
            code=Code.UNSUPPORTED_EXPORT,
        )
    name = re.sub(r"[^A-Za-z0-9.+-]+", "-", recorded.cell.id)
    with tempfile.TemporaryDirectory(prefix="foothold-") as scratch:
        tree = Path(scratch) / name
        tree.mkdir()
        command = export_cell(recorded, builder, tree)
        _describe(recorded, tree, command)
        try:
            _pack(tree, file, *form)
        except OSError as error:
            file.unlink(missing_ok=True)
            raise InfrastructureError(
                f"{file} cannot be written: {error.strerror}",
                "give --bundle another file",
                code=Code.INFRASTRUCTURE_OUTPUT,
            ) from error


def _describe(recorded: RecordedCell, tree: Path, command: str) -> None:
    """Write the script, and beside it what was seen in the run."""
    title = escape_line(f"{recorded.cell.id} of {recorded.run}")
    native = recorded.cell.guest == "native"
    python = 'python="${PYTHON:-$(command -v python3)}"\n\t' if native else ""
    values = {
        "TITLE": title,
        "MACHINE": "x86-64",
        "NEEDS": ", and python3 as it is there" if native and recorded.subject.reports else "",
        "COMMAND": python + command,
    }
    script = re.sub(r"@([A-Z]+)@", lambda match: values[match[1]], _SCRIPT.read_text())
    (tree / "repro").write_text(script)
    (tree / "repro").chmod(0o755)
    readme = _README.format(
        title=escape_markdown(title),
        run=escape_markdown(recorded.run),
        command=escape_shell(recorded.cell.command),
    )
    (tree / "README.md").write_text(readme)
    try:
        recorded.evidence_files.copy_tree(tree / "recorded/cell")
        recorded.boot_files.copy_tree(tree / "recorded/guest", leave_out=_NOT_EVIDENCE)
    except OSError as error:
        raise UsageError(f"the evidence of {title} cannot be copied: {error}", DAMAGED) from error
    # what a subject printed stands in no script
    result = escape_line(str(recorded.verdict.observed or "no answer"))
    (tree / "recorded/result").write_text(f"{result}\n")
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
