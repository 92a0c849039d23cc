"""How long judging takes, by how many calls the subject made.

Each program is traced natively, as a cell would be, and judged on one processor. Seconds are of
processor time, medians of ROUNDS. The line must be straight: time per call must not grow.
"""

from __future__ import annotations

import resource
import statistics
import subprocess
from pathlib import Path
from time import process_time

from bench.guests import workplace
from foothold_lab.harness.evidence import observe_program
from foothold_lab.harness.guests.base import run_program
from foothold_lab.harness.guests.catalogue import catalogue
from foothold_lab.harness.model.cells import Limits
from foothold_lab.harness.model.deadline import Deadline
from foothold_lab.harness.model.record import Record, Supervision
from foothold_lab.images.builder import Builder

ROUNDS = 3
COUNTS = (10_000, 30_000, 100_000, 300_000, 1_000_000)
SECONDS = 600.0  # for one program under a tracer
GOAL = 20e-6  # seconds per call: 100,000 calls in 2 s

_SOURCE = """\
#include <stdlib.h>
#include <sys/mman.h>
enum { FLAGS = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, PAGE = 4096, PAGES = 60000, SLOTS = 32768 };
int main(int argc, char **argv) {
    long n = atol(argv[1]);
"""
PROGRAMS = {
    "mprotect of every second page": """
    char *p = mmap(0, (long)PAGES * PAGE, PROT_NONE, FLAGS, -1, 0);
    for (long i = 0; i < n; i++)
        mprotect(p + i * 2 % PAGES * PAGE, PAGE, i * 2 / PAGES % 2 ? PROT_READ : PROT_READ | PROT_WRITE);
""",
    "refused mmap with a hint": """
    for (long i = 0; i < n; i++)
        mmap((char *)0x100000000000 + i * PAGE, 1L << 50, PROT_NONE, FLAGS, -1, 0);
""",
    "mmap of 128 MiB, munmap of an older one": """
    static char *slots[SLOTS];
    for (long i = 0; i < n / 2; i++) {
        if (slots[i % SLOTS]) munmap(slots[i % SLOTS], 128 << 20);
        slots[i % SLOTS] = mmap(0, 128 << 20, i & 1 ? PROT_NONE : PROT_READ, FLAGS, -1, 0);
    }
""",
}


def main() -> None:
    """Print the table."""
    print(f"{'program':42} {'calls':>9} {'judged, s':>10} {'per call, us':>13}  goal")
    builder = Builder()
    kind = catalogue(builder)["native"]
    with workplace(builder, kind) as place:
        guest = kind.make(place)
        guest.boot(Deadline.after(60))
        try:
            for name, body in PROGRAMS.items():
                program = _compile(body, place.directory)
                for count in COUNTS:
                    how = Supervision(trace=True, exit_maps=True)
                    argv = [str(program), str(count)]
                    record = run_program(guest, argv, Limits(), Deadline.after(SECONDS), how=how)
                    print(_row(name, record), flush=True)
        finally:
            guest.stop()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    print(f"memory at most: {peak} MiB")


def _compile(body: str, directory: Path) -> Path:
    source, program = directory / "program.c", directory / "program"
    source.write_text(f"{_SOURCE}{body}    return 0;\n}}\n")
    subprocess.run(["cc", "-O1", "-o", str(program), str(source)], check=True)
    return program


def _row(name: str, record: Record) -> str:
    calls = (record.trace or b"").count(b"\n")
    taken = statistics.median(_judge(record) for _ in range(ROUNDS))
    verdict = "met" if taken <= calls * GOAL else "MISSED"
    cut = ", of a trace that was cut" if "trace" in record.cut else ""
    return f"{name:42} {calls:9,} {taken:10.2f} {taken / calls * 1e6:13.1f}  {verdict}{cut}"


def _judge(record: Record) -> float:
    started = process_time()
    observation = observe_program(record)
    taken = process_time() - started
    assert not observation.contradictions, observation.contradictions
    return taken
