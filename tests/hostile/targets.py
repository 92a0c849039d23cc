"""What is fuzzed: each target reads one mutated input, as Foothold reads it.

A target raises what is not an answer in words: an error that is not of Foothold, or a hang.
`python -m tests.hostile.fuzz SECONDS` runs each for some time; test_fuzz.py runs each briefly.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import struct
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from random import Random
from unittest import mock

import msgspec

from foothold_lab.harness.cli import main
from foothold_lab.harness.evidence import emulator
from foothold_lab.harness.evidence.allocator_report import read_report
from foothold_lab.harness.evidence.arena_detection import detect_path
from foothold_lab.harness.evidence.maps import MapsError, ledger_of, parse_maps
from foothold_lab.harness.evidence.strace import doubts, follow_subject, last_refusal, parse_trace
from foothold_lab.harness.interactive import bundle, recorded_cell
from foothold_lab.harness.model.cells import Cell, Limits
from foothold_lab.harness.model.errors import FootholdError, UsageError
from foothold_lab.harness.model.events import AnyEvent, GuestBooting
from foothold_lab.harness.model.facts import parse_facts
from foothold_lab.harness.model.kernel_log import excerpt, kernel_faults
from foothold_lab.harness.model.ledger import replay
from foothold_lab.harness.model.record import Ending
from foothold_lab.harness.model.traits import TRAITS
from foothold_lab.harness.model.verdict import Expectation, Outcome
from foothold_lab.harness.oracle import predict
from foothold_lab.harness.plan import builtin_plans, load_plan
from foothold_lab.harness.plan.builtin import BUILTIN_DIRECTORY
from foothold_lab.harness.results_db.database import MEMORY, Database
from foothold_lab.harness.subjects import libraries
from foothold_lab.harness.subjects.subject import (
    Subject,
    can_judge_under,
    of_program,
    write_deployed,
)
from foothold_lab.harness.transport.console import diagnose
from foothold_lab.harness.transport.frames import (
    KEY_SIZE,
    FrameKind,
    Frames,
    LostContactError,
    seal,
)
from foothold_lab.images.apt import Apt, Deb, parse_uris
from foothold_lab.images.cache import Cache
from foothold_lab.images.errors import ImageError
from foothold_lab.images.library_search import SearchRoot, find_libraries
from tests.hostile.mutate import mutate, mutate_bytes
from tests.unit.harness import samples
from tests.unit.html_report import runs

PROGRAM = Cell(guest="native", limits=Limits(), policy="", subject="prog", workload="")
STARTS = Expectation(path=None, outcome=Outcome.STARTS)


def run_directory_of_a_program(directory: Path, evil: str = "said") -> Path:
    """A run of one program that printed something, as the runner leaves it."""
    seen = samples.observation(STARTS, message=evil, last_output=f"first\n{evil}", path=None)
    happened: list[AnyEvent] = [
        samples.started(PROGRAM),
        GuestBooting(guest="native", boot="native", images={"agent": "agent-0123456789abcdef"}),
        msgspec.structs.replace(samples.ready("native"), boot="native", argv=("agent", evil)),
        msgspec.structs.replace(samples.done(PROGRAM, observed=seen), boot="native"),
        samples.finished(),
    ]
    runs.write(directory, happened, evidence=False)
    work = directory / "guests/native/share/subject/prog/work"
    work.mkdir(parents=True)
    (work / "data").write_text("of the subject\n")
    subject = Subject(name="prog", argv=("/bin/echo", evil), files={"work/data": work / "data"})
    write_deployed(directory / "guests/native", [subject])
    cell = directory / "cells" / PROGRAM.id
    (cell / "stdout").write_text(f"{evil}\n")
    (cell / "stderr").write_text("")
    return directory


def describe_bundle(directory: Path, cell: str, tree: Path) -> None:
    """Make what a bundle has of a run directory; images and agent are not of the run."""
    tree.mkdir()
    with Database(MEMORY) as database:
        found = recorded_cell.find(database, str(directory), cell)
    found.copy_share(tree / "share")
    bundle._describe(found, tree, "true")


def check_run_directory(random: Random, scratch: Path) -> None:
    """Show, report, compare and bundle a run directory with a damaged file."""
    directory = scratch / "run"
    of_a_program = random.random() < 0.3
    if of_a_program:
        run_directory_of_a_program(directory)
    else:
        runs.write(directory, runs.events())
    names = sorted(
        str(each.relative_to(directory)) for each in directory.rglob("*") if each.is_file()
    )
    heavy = [name for name in names if name.endswith((".json", ".jsonl"))]
    name = random.choice(random.choice((names, heavy)))
    (directory / name).write_bytes(mutate(random, (directory / name).read_bytes()))
    cell = PROGRAM.id if of_a_program else runs.LOW.id
    there = str(directory)
    commands = (
        ("show", there), ("show", there, cell), ("show", there, "--json"), ("report", there),
        ("compare", there, there),
    )  # fmt: skip
    run_command(random.choice(commands), scratch)
    with contextlib.suppress(FootholdError):
        describe_bundle(directory, cell, scratch / "tree")


DATA = Path(__file__).parents[1] / "data"
_TRUE = Path("/bin/true").resolve()
_ELF = _TRUE.read_bytes()
_LOADER, _CACHE = "/lib64/ld-linux-x86-64.so.2", "/etc/ld.so.cache"
_RECORDED = sorted((samples.RECORDED / "traced").iterdir())
_URIS = (
    b"'http://mirror.example/debian/pool/main/p/pp_1_all.deb' pp_1_all.deb 1234 SHA256:" + b"0" * 64
)


def mutate_headers(random: Random, elf: bytes) -> bytes:
    """Change words of the headers of an ELF file, or of its dynamic section."""
    data = bytearray(elf)
    regions = [(0, 64), (64, 2048), *_dynamic_sections(elf)]
    for _ in range(random.randint(1, 3)):
        at = random.randrange(*random.choice(regions))
        word = random.choice((0, 1, 0xFF, 0x7FFFFFFF, 1 << 63, random.getrandbits(64)))
        size = random.choice((1, 2, 4, 8))
        data[at : at + size] = (word & ((1 << 8 * size) - 1)).to_bytes(size, "little")
    return bytes(data)


def _dynamic_sections(elf: bytes) -> list[tuple[int, int]]:
    """Return start and end of the dynamic section of a sound 64-bit ELF file, if it has one."""
    (table,), (count,) = struct.unpack_from("<Q", elf, 32), struct.unpack_from("<H", elf, 56)
    entries = (struct.unpack_from("<IIQQQQ", elf, table + 56 * at) for at in range(count))
    return [(entry[2], entry[2] + entry[5]) for entry in entries if entry[0] == 2]


def check_elf(random: Random, scratch: Path) -> None:
    """Make a subject of a damaged program. Most damage is where the headers are."""
    data = mutate_headers(random, _ELF) if random.random() < 0.9 else mutate_bytes(random, _ELF)
    path = scratch / "prog"
    path.write_bytes(data)
    path.chmod(0o755)
    try:
        subject = of_program(str(path))
    except UsageError as error:
        assert error.remedy
        assert len(str(error)) < 2000
    else:
        can_judge_under(subject, 1 << 39)


def check_plan(random: Random, scratch: Path) -> None:
    """Read a damaged plan, and list its cells."""
    name = random.choice(builtin_plans())
    path = scratch / "plan.toml"
    path.write_bytes(mutate(random, (BUILTIN_DIRECTORY / f"{name}.toml").read_bytes()))
    with contextlib.suppress(FootholdError):
        load_plan(path, samples.KNOWN).cells()


def check_loader(random: Random, scratch: Path) -> None:
    """Find the libraries of a program when a library, or the loader's configuration, is damaged."""
    root = scratch / "root"
    for path, file in libraries.of_host(_TRUE, _LOADER, {}).files.items():
        copy = root / path[1:]
        copy.parent.mkdir(parents=True, exist_ok=True)
        data = file.read_bytes() if random.random() < 0.9 else b""
        is_elf = data.startswith(b"\x7fELF")
        copy.write_bytes(mutate_headers(random, data) if is_elf and random.random() < 0.5 else data)
    (root / "etc").mkdir(exist_ok=True)
    (root / "etc/ld.so.cache").write_bytes(mutate_bytes(random, Path(_CACHE).read_bytes()))
    (root / "etc/ld-musl-x86_64.path").write_bytes(mutate_bytes(random, b"/lib\n/usr/lib:/x"))
    (root / "loop").symlink_to("loop")
    paths = ("/loop", "$ORIGIN/../x", "${LIB}", "$PLATFORM/..", "/" + "x" * 5000, "/lib")
    where = SearchRoot(
        root=root,
        loader=random.choice((_LOADER, "/lib/ld-musl-x86_64.so.1")),
        directories=random.choice(((), ("/lib", "/loop"))),
        environment={"LD_LIBRARY_PATH": ":".join(random.sample(paths, 3)), "LD_PRELOAD": "x /loop"},
    )
    with contextlib.suppress(ImageError):
        found = find_libraries(_TRUE, where)
        assert all(file.is_relative_to(root) for file in found.files.values())
    with contextlib.suppress(UsageError):
        libraries.of_sysroot(_TRUE, _LOADER, root, where.environment)


def check_package(random: Random, scratch: Path) -> None:
    """Unpack a damaged Debian package whose hash is right, and read damaged lists of packages."""
    data = mutate_bytes(random, _package())
    cache, tree = Cache(scratch / "cache"), scratch / "tree"
    apt = Apt(cache)
    apt.debs.mkdir(parents=True)
    deb = Deb(
        package="pp", version="1", suite="s", file="pp_1_all.deb", size=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
    )  # fmt: skip
    (apt.debs / deb.file).write_bytes(data)
    before = set(scratch.iterdir())
    with contextlib.suppress(ImageError):
        apt.unpack([deb], tree)
    assert set(scratch.iterdir()) - before <= {tree}
    parse_uris(mutate(random, _URIS).decode(errors="replace"), "bookworm")


@cache
def _package() -> bytes:
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch) / "root"
        (root / "DEBIAN").mkdir(parents=True)
        (root / "usr/bin").mkdir(parents=True)
        (root / "usr/bin/p").write_text("#!/bin/sh\n")
        (root / "usr/bin/link").symlink_to("../../../../../../etc")
        (root / "DEBIAN/control").write_text(
            "Package: p\nVersion: 1\nArchitecture: all\nMaintainer: x <x@x>\nDescription: p\n"
        )
        file = Path(scratch) / "p.deb"
        argv = ["dpkg-deb", "--root-owner-group", "-Znone", "-b", str(root), str(file)]
        subprocess.run(argv, check=True, capture_output=True)
        return file.read_bytes()


def check_strace(random: Random, scratch: Path) -> None:
    """Read a damaged trace of strace."""
    path = random.choice(_RECORDED) / "strace"
    trace = parse_trace(mutate(random, path.read_bytes()))
    subject = follow_subject(trace, trace.calls[0].pid if trace.calls else 0)
    replay(subject.steps)
    doubts(trace, subject, Ending(status=0))
    last_refusal(trace, 1)


def check_emulator(random: Random, scratch: Path) -> None:
    """Read a damaged log of qemu-user."""
    path = random.choice(sorted((DATA / "emulator").glob("*.log")))
    log = emulator.read_log(mutate(random, path.read_bytes()))
    subject = emulator.follow_subject(log, 1)
    replay(subject.steps)
    emulator.doubts(subject, Ending(status=0))


def check_maps(random: Random, scratch: Path) -> None:
    """Read damaged /proc/PID/maps."""
    path = random.choice(_RECORDED) / "maps-end"
    with contextlib.suppress(MapsError):
        found = parse_maps(mutate(random, path.read_bytes()).decode(errors="replace"))
        ledger_of(found)
        for policy in ("before", "after", "modern"):
            detect_path(found, policy, 8)


def check_report(random: Random, scratch: Path) -> None:
    """Read a damaged report of the allocator."""
    path = random.choice(_RECORDED) / "stdout.jsonl"
    report = read_report(mutate(random, path.read_bytes()))
    str(report.path)


def check_frames(random: Random, scratch: Path) -> None:
    """Read damaged frames of the agent."""
    key, stream = bytes(KEY_SIZE), b""
    for number, kind in enumerate(random.choices(list(FrameKind), k=random.randint(1, 6))):
        payload = mutate(random, b'{"pid":1,"status":0}')
        head = struct.pack("<cI", kind.value, len(payload))
        stream += head + seal(key, number, head, payload) + payload
    frames = Frames(key)
    with contextlib.suppress(LostContactError, FootholdError):
        damaged = mutate_bytes(random, stream)
        while damaged:
            size = random.randint(1, 100)
            list(frames.take(damaged[:size]))
            damaged = damaged[size:]


def check_facts(random: Random, scratch: Path) -> None:
    """Read damaged facts of a guest, and predict from them."""
    with contextlib.suppress(FootholdError):
        facts = parse_facts(mutate(random, msgspec.json.encode(samples.facts())))
        for trait in TRAITS.values():
            trait(facts)
        for policy in ("before", "after", "modern"):
            predict(facts, samples.cell("uml-6.1", policy).limits, policy)


def check_console(random: Random, scratch: Path) -> None:
    """Search a damaged console for the signs of a death."""
    path = random.choice(sorted((DATA / "consoles").glob("*.log")))
    text = mutate(random, path.read_bytes()).decode(errors="replace")
    for line in text.splitlines():
        if error := diagnose(line[:4096]):
            assert error.remedy is not None
    excerpt(text.splitlines(), 12)
    kernel_faults(text)


TARGETS: Mapping[str, Callable[[Random, Path], None]] = {
    "console": check_console,
    "elf": check_elf,
    "emulator": check_emulator,
    "facts": check_facts,
    "frames": check_frames,
    "loader": check_loader,
    "maps": check_maps,
    "package": check_package,
    "plan": check_plan,
    "report": check_report,
    "run-directory": check_run_directory,
    "strace": check_strace,
}
MOST_SECONDS = 20.0  # of processor time, for one input


def fuzz(name: str, seed: int) -> None:
    """Give one input to a target. Raises what it raises, and AssertionError if it takes long."""
    before = time.thread_time()
    with tempfile.TemporaryDirectory(prefix="foothold-fuzz-") as scratch:
        TARGETS[name](Random(seed), Path(scratch))
    seconds = time.thread_time() - before
    assert seconds < MOST_SECONDS, f"{name} took {seconds:.1f} s for the input of seed {seed}"


def run_command(
    words: tuple[str, ...], state: Path, allowed: tuple[int, ...] = (0, 1, 2, 3)
) -> str:
    """Run a command in this process. Raises AssertionError if it does not answer in words."""
    out, err = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.StringIO()
    environment: Mapping[str, str] = {"XDG_STATE_HOME": str(state / "state")}
    with (
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        mock.patch.dict(os.environ, environment),
    ):
        code = main.main(words)
        out.flush()
    assert code in allowed, err.getvalue()
    crashes = list((state / "state/foothold/crashes").glob("*"))
    assert not crashes, err.getvalue() + crashes[0].read_text()
    return err.getvalue()
