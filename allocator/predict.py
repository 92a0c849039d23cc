"""Runs the allocator on a model kernel and returns the result as a value. Host only."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from .death import Console, Death, Killed, Throw
from .malloc import Runtime
from .modelkernel import ModelKernel
from .policy import ASSUME, Policy
from .trace import Call, Traced
from .workload import parse, run


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """The result of a policy on an address space.

    path: `high`, `low`, `low-grown` or `refused` (no usable arena).
    outcome: `allocates` or `dies`.
    status: the exit status. signal: the signal that killed the process, 0 if none did. message: the text of the throw, empty if there was no throw.
    printed: the lines on standard error before the throw.
    reason: why the policy took this path, in one sentence.
    calls: all system calls, in order.
    addresses: addresses and sizes of the arena, by their names in the report.
    stats: statistics, by Go's names.
    """

    path: str
    outcome: str
    status: int
    signal: int
    message: str
    printed: tuple[str, ...]
    reason: str
    calls: tuple[Call, ...]
    addresses: Mapping[str, int] = field(default_factory=dict)
    stats: Mapping[str, int] = field(default_factory=dict)


def predict(
    policy: Policy,
    kernel: ModelKernel,
    *,
    end: int | None = None,
    image: int | None = None,
    workload: str = "default",
) -> Prediction:
    """Run `workload` (see `allocator.workload`) under `policy` on a fresh `kernel`.

    `end` is the address of the image's end, `image` its size in bytes; the defaults are those of
    Go's own program. Raises ValueError for an unknown workload. A death of the runtime is a result.
    """
    parse(workload)
    calls: list[Call] = []
    console = Console()
    runtime = Runtime(Traced(kernel, calls.append), policy, console, end, image)
    message, reason, status, signal, ready = "", "", 0, 0, False
    try:
        runtime.mallocinit()
        ready = True
        run(runtime, workload)
    except Death as death:
        message, status = death.message, death.status
        signal = death.signal if isinstance(death, Killed) else 0
        reason = message
        if not isinstance(death, Throw):
            message = ""
    arena = runtime.arena
    path = arena.path if ready else "refused"
    return Prediction(
        path=path,
        outcome="dies" if status else "allocates",
        status=status,
        signal=signal,
        message=message,
        printed=tuple(console.lines),
        reason=_reason(kernel, runtime, calls, path, message or " ".join(console.lines) or reason),
        calls=tuple(calls),
        addresses=MappingProxyType(
            {
                name: getattr(arena, name)
                for name in ("base", "length", "bitmap", "bitmap_size", "arena_start", "arena_used")
            }
            | {"arena_end": arena.arena_end}
        ),
        stats=MappingProxyType(runtime.stats().as_dict() if ready else runtime.mstats.as_dict()),
    )


def _reason(
    kernel: ModelKernel,
    runtime: Runtime,
    calls: list[Call],
    path: str,
    death: str,
) -> str:
    """Explain path and death by the system calls."""
    parts = [_high(runtime.policy, kernel, calls)]
    if path in ("low", "low-grown"):
        parts.append(f"the low arena is at {runtime.arena.base:#x}")
    if path == "low-grown":
        parts.append("and grew past its reservation")
    if death:
        parts.append(f"and it died: {death}")
    return ", ".join(parts)


def _high(policy: Policy, kernel: ModelKernel, calls: list[Call]) -> str:
    """Say whether the high address was granted."""
    if not policy.hints:
        return f"{kernel.width.pointer}-byte pointers have no high address"
    hint = policy.hints[0]
    tried = [call for call in calls if call.name == "mmap" and call.args[0] == hint]
    if policy.reserve == ASSUME:
        return f"{hint:#x} was assumed to be free"
    if not tried:
        return f"{hint:#x} was not tried, because RLIMIT_AS is too small"
    if any(call.result == hint for call in tried):
        return f"{hint:#x} was granted"
    got = tried[0].result
    how = f"the kernel gave {got:#x} instead" if got > 0 else f"mmap gave errno {-got}"
    if hint >= kernel.task_size:
        how += f"; the address space ends at {kernel.task_size:#x}"
    return f"{hint:#x} was refused ({how})"
