"""Random programs of mapping and signal calls: the same seed gives the same programs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

from foothold_lab.harness.call_fuzzer.report import Program

# left out, because most programs would differ: write-only pages and SS_AUTODISARM, which the corpus has
_PAGES = 16  # that steps name; mappings may reach beyond
_COUNTS = (1, 1, 1, 1, 2, 2, 3, 4, 6, 8)
_PROTECTIONS = ("rw", "rw", "rw", "rw", "r", "r", "-", "-", "x", "rx", "rwx")
_PLACES = ("fixed", "fixed", "fixed", "new", "hint")
_ADVICES = (
    "normal", "random", "sequential", "willneed", "dontneed", "dontneed", "dontneed", "free",
    "remove", "remove", "dontfork", "dontfork", "dofork", "dontdump", "dodump", "wipeonfork",
    "wipeonfork", "keeponfork", "cold", "pageout", "populateread", "populatewrite",
)  # fmt: skip
_REMAPS = ("stay", "move", "fixed", "fixed", "fixed", "fixedcopy")
_SYNCS = ("async", "sync", "invalidate", "sync+invalidate")
_ATTACHES = ("write", "write+replace", "read+replace", "read")
_SIGNALS = ("usr1", "usr2", "alrm", "chld", "term", "cont", "urg", "int", "rt1", "rt2")
_FLAGS = ("restart", "nodefer", "reset", "stack", "nowait")
_ACTIONS = (
    "nothing",
    "nothing",
    "nothing",
    "raise",
    "raise",
    "block",
    "unblock",
    "nostack",
    "jump",
)
_BLOCKING = ("pipe", "sleep", "poll", "futex", "suspend", "wait")
_STACKS = ("65536 on", "65536 on", "32768 on", "1024 on", "0 off")
_WEIGHT_OF_NESTING = 0.15  # of a step that forks, starts a thread, or executes


def random_programs(seed: int, count: int) -> list[Program]:
    """Make programs, half of them of mapping calls, the others of signal calls or of both."""
    random = Random(seed)  # noqa: S311
    return [_program(random) for _ in range(count)]


def _program(random: Random) -> Program:
    kind = random.choice((_mapping_steps, _mapping_steps, _signal_steps, _mixed_steps))
    return tuple(kind(random))


def _mapping_steps(random: Random) -> list[str]:
    steps = [f"map {random.randrange(4)} {random.randrange(4, 13)} rw {_content(random)}"]
    steps += [f"write {_page(random)} {_byte(random)}" for _ in range(random.randrange(3))]
    return steps + _steps(random, random.randrange(3, 14), (_mapping_step,))


def _signal_steps(random: Random) -> list[str]:
    steps = [_handle(random) for _ in range(random.randrange(1, 4))]
    return steps + _steps(random, random.randrange(3, 12), (_signal_step,))


def _mixed_steps(random: Random) -> list[str]:
    steps = [_handle(random), f"map 0 8 rw {_content(random)}"]
    return steps + _steps(random, random.randrange(4, 14), (_mapping_step, _signal_step))


def _steps(random: Random, count: int, kinds: Sequence[Callable[[Random], str]]) -> list[str]:
    """Make steps; some of them run the steps that follow in a process or a thread."""
    return [
        _nesting(random, count - n)
        if random.random() < _WEIGHT_OF_NESTING
        else random.choice(kinds)(random)
        for n in range(count)
    ]


def _nesting(random: Random, left: int) -> str:
    kind = random.choice(("fork", "fork", "fork", "thread", "exec"))
    return kind if kind == "exec" else f"{kind} {random.randrange(1, min(left, 5) + 1)}"


def _page(random: Random) -> int:
    return random.randrange(_PAGES)


def _byte(random: Random) -> int:
    return random.randrange(1, 97)  # pages of files begin with letters


def _count(random: Random) -> int:
    return random.choice(_COUNTS)


def _range(random: Random) -> str:
    return f"{_page(random)} {_count(random)}"


def _content(random: Random, place: str = "fixed") -> str:
    sharing = random.choice(("private", "private", "shared"))
    more = random.choice(("", "", "", "", "+populate", "+noreserve", "+locked"))
    content = random.choice(("memory", "memory", "memory", "file0", "file1"))
    offset = "" if content == "memory" else f" {random.randrange(10)}"
    return f"{content} {sharing}+{place}{more}{offset}"


def _map(random: Random) -> str:
    place, protection = random.choice(_PLACES), random.choice(_PROTECTIONS)
    return f"map {_range(random)} {protection} {_content(random, place)}"


def _remap(random: Random) -> str:
    """Linux since 6.17 also moves ranges with holes and several mappings: such ranges are rare."""
    how, old, new = random.choice(_REMAPS), _count(random), _count(random)
    if how.startswith("fixed") and random.random() < 0.9:
        old = 1
    if how == "fixedcopy" or random.random() < 0.4:
        new = old
    if random.random() < 0.03:
        old = 0
    return f"remap {_page(random)} {old} {new} {how} {_page(random)}"


def _file_page(random: Random) -> str:
    return f"{random.randrange(2)} {random.randrange(9)}"


_MAPPING: Sequence[tuple[int, Callable[[Random], str]]] = (
    (6, _map),
    (4, lambda random: f"unmap {_range(random)}"),
    (8, lambda random: f"protect {_range(random)} {random.choice(_PROTECTIONS)}"),
    (8, _remap),
    (8, lambda random: f"advise {_range(random)} {random.choice(_ADVICES)}"),
    (2, lambda random: f"sync {_range(random)} {random.choice(_SYNCS)}"),
    (1, lambda random: f"lock {_range(random)}"),
    (1, lambda random: f"unlock {_range(random)}"),
    (2, lambda random: f"resident {_range(random)}"),
    (10, lambda random: f"write {_page(random)} {_byte(random)}"),
    (6, lambda random: f"read {_page(random)}"),
    (2, lambda random: f"send {_range(random)}"),
    (2, lambda random: f"receive {_range(random)} {_file_page(random)}"),
    (1, lambda random: f"copy {_page(random)} {_range(random)}"),
    (1, lambda random: f"truncate {_file_page(random)}"),
    (1, lambda random: f"punch {_file_page(random)} {_count(random)}"),
    (1, lambda random: f"put {_file_page(random)} {_byte(random)}"),
    (1, lambda random: f"get {_file_page(random)}"),
    (1, lambda random: f"attach {_range(random)} {random.choice(_ATTACHES)}"),
    (1, lambda random: f"detach {_page(random)}"),
    (1, lambda _: "maps"),
)  # fmt: skip


def _signal(random: Random) -> str:
    return random.choice(_SIGNALS)


def _signals(random: Random) -> str:
    chosen = random.sample(_SIGNALS, random.choice((0, 1, 1, 2, 3)))
    return "+".join(chosen) or "-"


def _handle(random: Random) -> str:
    signal = "segv" if random.random() < 0.1 else _signal(random)
    how = random.choice(("catch", "catch", "catch", "catch", "catch", "ignore", "default"))
    flags = "+".join(random.sample(_FLAGS, random.choice((0, 0, 1, 1, 2)))) or "-"
    action = random.choice(_ACTIONS)
    argument = f" {_signal(random)}" if action in ("raise", "block", "unblock") else ""
    return f"handle {signal} {how} {flags} {_signals(random)} {action}{argument}"


_SIGNALLING: Sequence[tuple[int, Callable[[Random], str]]] = (
    (6, _handle),
    (6, lambda random: f"mask {random.choice(('block', 'unblock', 'set'))} {_signals(random)}"),
    (5, lambda random: f"raise {_signal(random)}"),
    (5, lambda random: f"kill {_signal(random)}"),
    (4, lambda random: f"queue {_signal(random)} {random.randrange(100)}"),
    (3, lambda _: "pending"),
    (2, lambda random: f"take {_signals(random)}"),
    (1, lambda random: f"signalfd {_signals(random)}"),
    (4, lambda random: f"altstack {random.choice(_STACKS)}"),
    (2, lambda random: f"interrupt {random.choice(_BLOCKING)} {_signal(random)}"),
    (2, lambda random: f"read {_page(random)}"),
    (1, lambda random: f"write {_page(random)} {_byte(random)}"),
)  # fmt: skip


def _mapping_step(random: Random) -> str:
    return _weighted(random, _MAPPING)


def _signal_step(random: Random) -> str:
    return _weighted(random, _SIGNALLING)


def _weighted(random: Random, table: Sequence[tuple[int, Callable[[Random], str]]]) -> str:
    [make] = random.choices([make for _, make in table], [weight for weight, _ in table])
    return make(random)
