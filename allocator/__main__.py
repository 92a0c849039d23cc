"""`python3 -m allocator`: run the subject and write its report; see `options.HELP`."""

import sys

from . import options
from .death import Console, Killed, Throw
from .report import Report, write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .death import Death
    from .kernel import Kernel
    from .policy import Policy

SCHEMA = 1


def main(argv: list[str] | None = None) -> int:
    """Run with these arguments (default: those of the process) and return the exit status."""
    try:
        return _main(sys.argv[1:] if argv is None else argv)
    except options.UsageError as error:
        return _fail(str(error))
    except ImportError as error:
        return _fail(
            f"Python cannot import a module ({error}): check the installation and the limits"
        )
    except MemoryError:
        return _fail("too little memory for Python: raise the address-space limit (RLIMIT_AS)")
    except BrokenPipeError:
        return _fail("the report cannot be written: standard output is closed")
    except OSError as error:
        return _fail(f"the report cannot be written: {error.strerror}")
    except KeyboardInterrupt:
        return 130


def _fail(message: str) -> int:
    write(2, f"allocator: {message}\n")
    return 2


def _main(argv: list[str]) -> int:
    chosen = options.parse(argv)
    from .policy import POLICIES

    if chosen.help:
        write(1, options.HELP.replace("{policies}", ", ".join(POLICIES)))
        return 0
    policy = POLICIES.get(chosen.policy)
    if policy is None:
        raise options.UsageError(f"unknown policy {chosen.policy!r}: use {', '.join(POLICIES)}")
    from . import workload

    try:
        workload.parse(chosen.workload)
    except ValueError as error:
        raise options.UsageError(f"--workload: {error}") from None
    kernel, end = _kernel(chosen)
    pointer_size = kernel.width.pointer
    if pointer_size not in policy.pointer_sizes:
        raise options.UsageError(
            f"the policy {policy.name} does not exist for {pointer_size}-byte pointers: "
            "use a 64-bit machine"
        )
    report = Report(1)
    report.event(
        "start",
        schema=SCHEMA,
        pid=_pid(),
        policy=policy.name,
        workload=chosen.workload,
        pointer_size=pointer_size,
        page_size=kernel.page_size,
        end=end,
        kernel=kernel.name,
        python=".".join(map(str, sys.version_info[:3])),
    )
    if chosen.trace:
        from .trace import Call, Traced

        def record(call: Call) -> None:
            report.event("call", name=call.name, args=call.args, result=call.result)

        kernel = Traced(kernel, record)
    return _run(kernel, policy, end, chosen, report)


def _run(
    kernel: "Kernel", policy: "Policy", end: int, chosen: options.Options, report: Report
) -> int:
    from . import workload
    from .death import Death
    from .malloc import Runtime

    console = Console(lambda text: write(2, text))
    runtime = Runtime(kernel, policy, console, end, chosen.image)
    try:
        runtime.mallocinit()
        arena = runtime.arena
        report.event(
            "reserved",
            path=arena.path,
            base=arena.base,
            length=arena.length,
            bitmap=arena.bitmap,
            bitmap_size=arena.bitmap_size,
            arena_start=arena.arena_start,
            arena_used=arena.arena_used,
            arena_end=arena.arena_end,
        )
        _hold(chosen, report, "reserved")
        outcome = workload.run(runtime, chosen.workload)
        report.event(
            "workload",
            name=outcome.name,
            small=outcome.small,
            large=outcome.large,
            bytes=outcome.nbytes,
            verified=True,
        )
        _hold(chosen, report, "end")
    except workload.Broken as broken:
        report.event("broken", message=str(broken))
        return 1
    except Death as death:
        return _died(death, console, report)
    report.event(
        "end",
        path=arena.path,
        arena_start=arena.arena_start,
        arena_used=arena.arena_used,
        arena_end=arena.arena_end,
        stats=runtime.stats().as_dict(),
    )
    return 0


def _died(death: "Death", console: Console, report: Report) -> int:
    """Report a death: `throw`, `exit` without a throw, or `killed` by a signal."""
    printed = list(console.lines)
    if isinstance(death, Killed):
        report.event("killed", signal=death.signal, printed=printed)
        _kill_self(death.signal)
    elif isinstance(death, Throw):
        report.event("throw", message=death.message, printed=printed, status=death.status)
        console.printf(f"throw: {death.message}\n")
    else:
        report.event("exit", message=death.message, printed=printed, status=death.status)
    return death.status


def _kill_self(number: int) -> None:
    """End this process by a signal, as the kernel ends the runtime."""
    import signal
    from posix import kill

    signal.signal(number, signal.SIG_DFL)
    kill(_pid(), number)


def _hold(chosen: options.Options, report: Report, at: str) -> None:
    if chosen.hold:
        report.event("hold", at=at)
        from posix import read

        while read(0, 1) not in (b"\n", b""):
            pass


def _kernel(chosen: options.Options) -> "tuple[Kernel, int]":
    if chosen.model is None:
        from .realkernel import RealKernel

        real = RealKernel()
        return real, real.end(real.width.end) if chosen.end is None else chosen.end
    from .modelkernel import ModelKernel

    try:
        kernel = ModelKernel(chosen.model)
    except ValueError as error:
        raise options.UsageError(str(error)) from None
    return kernel, kernel.width.end if chosen.end is None else chosen.end


def _pid() -> int:
    from posix import getpid

    return getpid()


if __name__ == "__main__":
    sys.exit(main())
