"""What a guest is made of, put into a directory from which it runs, and the shell's words for it.

The words are those that booted the guest in the run, with paths into the directory: `$here` is
where it lies, `$work` a directory for the moment, `$pin` what pins to a processor.
"""

from __future__ import annotations

import itertools
import re
import shlex
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from foothold_lab.harness import subjects
from foothold_lab.harness.guests.base import Guest, GuestConfig, GuestPaths
from foothold_lab.harness.guests.catalogue import catalogue, find_guest
from foothold_lab.harness.guests.native import Native
from foothold_lab.harness.guests.qemu import Qemu
from foothold_lab.harness.guests.uml import Uml
from foothold_lab.harness.guests.virtual_machine import VirtualMachine
from foothold_lab.harness.guests.vm_process import IMAGE_LIST
from foothold_lab.harness.interactive.recorded_cell import RecordedCell
from foothold_lab.harness.model.errors import UnsupportedError, UsageError
from foothold_lab.harness.model.findings import Code
from foothold_lab.harness.run_directory import DAMAGED
from foothold_lab.harness.subjects import libraries
from foothold_lab.harness.transport.supervised import agent_arguments
from foothold_lab.images import elf, initramfs
from foothold_lab.images.builder import Builder

# Placeholders of what only the script knows. No argument of a program can hold NUL.
_HERE, _PYTHON, _WORK = "/\0here\0", "/\0python\0", "/\0work\0"
_SCRIPT = "run"  # what a guest runs, in its share
_RUN = f"foothold.run=/share/{_SCRIPT}"  # images/agent/init.c
# words of a guest's command line that are about a harness which is there
_OURS = re.compile(r"foothold\.(share|payload)=|con0=|ssl0=|rootflags=|uml_dir=")


def export_cell(recorded: RecordedCell, builder: Builder, tree: Path) -> str:
    """Put in what a cell's guest and subject are, and return the command that runs them.

    `builder` has the images of its run. Raises UnsupportedError for a guest that cannot go.
    """
    with tempfile.TemporaryDirectory(prefix="foothold-") as scratch:
        place = GuestConfig(directory=Path(scratch), share=Path(scratch), builder=builder)
        kind = find_guest(
            catalogue(builder, recorded.custom_kernels), recorded.cell.guest, recorded.machines
        )
        guest = kind.make(place)
    shutil.copy2(builder.image("agent") / "agent", tree / "agent")
    if isinstance(guest, Native):
        return _native(recorded, builder, guest, tree)
    argv = (
        recorded.boot.argv[recorded.boot.argv.index("--") + 1 :]
        if "--" in recorded.boot.argv
        else ()
    )
    hypervisor = guest.hypervisor if isinstance(guest, VirtualMachine) and argv else None
    try:
        if isinstance(hypervisor, Uml):
            return _uml(recorded, builder, guest, tree, argv)
        if isinstance(hypervisor, Qemu):
            if "-incoming" in argv:  # it went on from a snapshot, of one that was booted so
                memory = re.fullmatch(r"(\d{1,6})M", _word_after(argv, "-m"))
                if not memory:
                    raise _damaged(recorded)
                argv = hypervisor.with_memory(int(memory[1])).cold_command()
            return _qemu(recorded, guest, tree, argv)
    except (OSError, shutil.Error) as error:
        raise UsageError(
            f"the guest of {recorded.run} cannot be copied: {error}", DAMAGED
        ) from error
    raise UnsupportedError(
        f"a guest of the kind {recorded.cell.guest} does not go into a tarball",
        "native, UML and QEMU guests do: run the cell in one of those",
        code=Code.UNSUPPORTED_EXPORT,
    )


def _damaged(recorded: RecordedCell) -> UsageError:
    return UsageError(
        f"{recorded.run} has no complete command line of {recorded.cell.guest}", DAMAGED
    )


def _word_after(argv: Sequence[str], option: str) -> str:
    """Return the word after an option, empty without one."""
    return next((word for name, word in itertools.pairwise(argv) if name == option), "")


def _native(recorded: RecordedCell, builder: Builder, guest: Guest, tree: Path) -> str:
    if recorded.subject.image:
        raise UnsupportedError(
            f"{recorded.subject.name} is made to run where it lies on this machine",
            "a UML or QEMU guest shows it where it has to be: run the cell in one of those",
            code=Code.UNSUPPORTED_EXPORT,
        )
    recorded.copy_share(tree / "share")
    copy_program(builder.image("strace") / "usr/bin/strace", tree / "strace")
    (tree / "strace/strace").rename(tree / "strace/program")
    wrapper = tree / "strace/strace"
    wrapper.write_text(
        "#!/bin/sh\nhere=${0%/*}\n"
        'exec "$here"/lib/ld-* --library-path "$here/lib" "$here/program" "$@"\n'
    )
    wrapper.chmod(0o755)
    paths = GuestPaths(
        agent=f"{_HERE}/agent", share=f"{_HERE}/share", python=_PYTHON, placement="host"
    )
    words = _subject(recorded, paths, guest.scale, f"{_HERE}/strace/strace")
    return f"exec {_shell_words(words, {})}"


def _uml(
    recorded: RecordedCell, builder: Builder, guest: Guest, tree: Path, argv: Sequence[str]
) -> str:
    shutil.copytree(builder.image("root"), tree / "root", symlinks=True)
    share = tree / "root/share"
    _write_share(recorded, guest, share)
    if name := recorded.subject.image:
        image = builder.image(name)
        shutil.copytree(image, tree / "root/images" / name, symlinks=True)
        (share / IMAGE_LIST).write_text(f"bind /images/{name} {image}\n")
    if recorded.custom_kernels.uml:
        copy_program(recorded.custom_kernels.uml, tree / "kernel")
    else:
        kernels = [name for name in recorded.boot.images if name.startswith("uml-")]
        if len(kernels) != 1:
            raise _damaged(recorded)
        shutil.copytree(builder.image(kernels[0]), tree / "kernel")
    preload = ""
    if any(word.startswith("LD_PRELOAD=") for word in recorded.boot.argv):
        shutil.copy2(builder.image("shim") / "xstate.so", tree / "kernel/xstate.so")
        preload = '--env "LD_PRELOAD=$here/kernel/xstate.so" '
    words = _shell_words([word for word in argv if not _OURS.match(word)], {})
    return (
        f'cd "$here/kernel" || exit 3\n\texec "$here/agent" keep {preload}$pin -- {words} '
        '"rootflags=$here/root" "uml_dir=$work/" "con0=null,fd:2" "ssl0=null,fd:1" '
        f"{_RUN}"
    )


def _qemu(recorded: RecordedCell, guest: Guest, tree: Path, argv: Sequence[str]) -> str:
    program = Path(argv[0])
    if len(program.parents) < 3:
        raise _damaged(recorded)
    tool = program.parents[2]
    copy_program(program, tree / "qemu")
    for module in (tool / "usr/lib/x86_64-linux-gnu/qemu").glob("accel-*.so"):
        shutil.copy2(module, tree / "qemu" / module.name)
    shutil.copytree(tool / "usr/share/qemu", tree / "qemu/share/qemu")
    if (tool / "usr/share/seabios").is_dir():
        shutil.copytree(tool / "usr/share/seabios", tree / "qemu/share/seabios")
    kernel, initrd = (Path(_word_after(argv, word)) for word in ("-kernel", "-initrd"))
    shutil.copy2(kernel, tree / "vmlinux")
    with tempfile.TemporaryDirectory(prefix="foothold-") as scratch:
        share = Path(scratch) / "share"
        _write_share(recorded, guest, share)
        (tree / "initrd.cpio").write_bytes(
            initrd.read_bytes() + initramfs.archive(share, prefix="share/")
        )
    places = {
        str(kernel): f"{_HERE}/vmlinux",
        str(initrd): f"{_HERE}/initrd.cpio",
        str(tool / "usr/share"): f"{_HERE}/qemu/share",
    }
    for word in argv:
        if match := re.match(r"file=(.*),format=raw,", word):  # a disk that shows an image
            disk = Path(match[1].replace(",,", ","))
            shutil.copy2(disk, tree / disk.parent.name)
            places[match[1]] = f"{_HERE}/{disk.parent.name}"
    words = [f"./{program.name}", *(_of_qemu(word) for word in argv[1:])]
    return (
        'cd "$here/qemu" || exit 3\n\texec "$here/agent" keep --env "QEMU_MODULE_DIR=$here/qemu" '
        f"$pin -- {_shell_words(words, places)}"
    )


def _of_qemu(word: str) -> str:
    """The kernel's log goes into a file, what the subject did to standard output."""
    if word.startswith("stdio,id=console"):
        return f"file,id=console,path={_WORK}/console"
    if word.startswith("socket,id=line"):
        return "file,id=line,path=/proc/self/fd/1"
    if "foothold.port=" in word:
        return " ".join((*(each for each in word.split() if not _OURS.match(each)), _RUN))
    return word


def _write_share(recorded: RecordedCell, guest: Guest, share: Path) -> None:
    """Put in what the guest has on /share, and the script that it runs."""
    recorded.copy_share(share)
    words = _subject(recorded, guest.paths, guest.scale, "/usr/bin/strace")
    (share / _SCRIPT).write_text(f"exec {shlex.join(words)}\n")


def _subject(recorded: RecordedCell, paths: GuestPaths, scale: float, strace: str) -> list[str]:
    """The agent's words for the subject, as in the run, but for a reader of text."""
    traced = recorded.verdict.observed is not None and recorded.evidence_files.is_file("strace")
    how = subjects.supervision(recorded.subject, paths, scale, trace=traced)
    how = how.under(recorded.cell.limits)
    if recorded.cell.limits.seccomp:
        raise UsageError(
            "a bundle cannot hold a seccomp profile", "repeat the cell without --bundle"
        )
    argv = subjects.command(recorded.subject, recorded.cell, paths, trace=traced)
    if paths.placement == "host" and how.fresh_directory:
        # the agent makes directories and roots in guests only
        how = replace(
            how,
            directory=how.work_files or _WORK,
            fresh_directory=False,
            work_files="",
            own_root=False,
            overlay="",
        )
        argv = _of_copy(recorded.subject, paths, argv)
    arguments = agent_arguments(recorded.cell.limits, argv, replace(how, timeout=None), strace)
    text = ["--text"]
    if how.timeout is not None:
        text += ["--timeout", str(max(1, round(how.timeout)))]
    return [paths.agent, "run", *text, *arguments]


def _of_copy(subject: subjects.Subject, paths: GuestPaths, argv: Sequence[str]) -> tuple[str, ...]:
    """Start the copy of a program in the share, if there is one: another machine has no other."""
    name = f"{subjects.ROOT}{argv[0]}"
    if name not in subject.files and name not in subject.links:
        return tuple(argv)
    return (f"{paths.share}/{subject.place}/{name}", *argv[1:])


def copy_program(program: Path, directory: Path) -> None:
    """Put a program with its loader and libraries into a directory, from where it runs."""
    directory.mkdir(parents=True, exist_ok=True)
    copy = directory / program.name
    shutil.copy2(program, copy)
    loader = elf.interpreter(program)
    if loader is None:
        return
    if not loader.startswith("/"):  # it is made so already
        shutil.copytree(program.parent / "lib", directory / "lib")
        return
    (directory / "lib").mkdir()
    # of a library with variants for some processors, the last one is for all of them
    for path, library in libraries.of_host(program, loader, {}).files.items():
        if elf.is_elf(library):
            shutil.copy2(library.resolve(), directory / "lib" / Path(path).name)
    elf.relocate(copy, f"lib/{Path(loader).name}", "$ORIGIN/lib")


def _shell_words(words: Sequence[str], places: Mapping[str, str]) -> str:
    """Quote words for a shell, with variables of the script in place of some paths."""
    quoted = []
    for word in words:
        for path, here in places.items():
            word = word.replace(path, here)
        texts = re.split("/\0([a-z]+)\0", word)  # text, variable, text, …
        parts = [f'"${{{text}}}"' if at % 2 else shlex.quote(text) for at, text in enumerate(texts)]
        quoted.append("".join(part for part in parts if part != "''") or "''")
    return " ".join(quoted)
