"""The command line. It is parsed by hand, because importing argparse doubles the start-up time."""

from .value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .modelkernel import AddressSpace

HELP = """\
usage: python3 -m allocator [options]        (in a guest: python3 -I -S allocator/boot.py [options])

Allocate memory as Go's runtime of 2012 does, and report each step as a JSON line on standard
output. Standard error has the messages of the runtime. The exit status is 0, the status of the
runtime if it died (2), or 1 if memory did not keep what was written.

  --policy NAME     version of the reservation code (default: after):
                    {policies}
  --workload NAME   none, default, hello, grow:SIZE, grow-MIB, block:SIZE or small:N:SIZE
                    (default: default)
  --hold            wait for a line on standard input after the reservation, and at the end
  --trace           add every system call of the runtime to the report
  --end ADDRESS     end of the image; the low arena follows it (default: end of this process's heap
                    and 64 MiB; Go's own program: 0x2443a68, with 4-byte pointers 0x847da08)
  --image SIZE      size of text, data and bss, which the policy memlimit subtracts from the limit
                    (default: that of Go's own program)
  --kernel KIND     real, or model: an address space in memory (default: real). For the model:
    --pointer-size BYTES  8 or 4 (default: 8)
    --page-size SIZE      4K, 8K, 16K, 32K or 64K (default: 4K)
    --task-size SIZE      size of the address space in bytes, or in bits up to 64
                          (default: 47; 3G with 4-byte pointers)
    --placement ORDER     top-down or bottom-up (default: top-down)
    --mmap-base ADDRESS   where placement starts (default: below the top; bottom-up: 0x40000000)
    --rlimit-as SIZE      RLIMIT_AS; occupied ranges count (default: unlimited)
    --ignore-hints        place every mapping as if it had no hint
    --occupied FROM-TO    occupied address range; repeatable
    --fail CALL:N:ERRNO   make the N-th call of mmap, munmap, mincore or getrlimit fail; repeatable

SIZE and ADDRESS: 4096, 0x1000, 300M, 2G (binary units).
"""


class UsageError(Exception):
    """The command line is invalid. The message names the cause and the remedy."""


class Options(Value):
    """The parsed command line. `end` None: that of this process. `model` None: the real kernel."""

    __slots__ = ("end", "help", "hold", "image", "model", "policy", "trace", "workload")
    policy: str
    workload: str
    hold: bool
    trace: bool
    end: int | None
    image: int | None
    model: "AddressSpace | None"
    help: bool


VALUED = (
    "--policy", "--workload", "--end", "--image", "--kernel", "--task-size", "--placement",
    "--mmap-base", "--rlimit-as", "--occupied", "--fail", "--pointer-size", "--page-size",
)  # fmt: skip
FLAGS = ("--hold", "--trace", "--help", "--ignore-hints")
OF_MODEL = {"--task-size", "--placement", "--mmap-base", "--rlimit-as", "--occupied", "--fail",
            "--ignore-hints", "--pointer-size", "--page-size"}  # fmt: skip


def parse(argv: list[str]) -> Options:
    """Read the arguments after the program's name. Raises UsageError."""
    given = _read(argv)
    return Options(
        policy=given.get("--policy", ["after"])[-1],
        workload=given.get("--workload", ["default"])[-1],
        hold="--hold" in given,
        trace="--trace" in given,
        end=_size(given, "--end"),
        image=_size(given, "--image"),
        model=_model(given),
        help="--help" in given,
    )


def _read(argv: list[str]) -> dict[str, list[str]]:
    """Return the values of each option that is given, an empty text for a flag."""
    given: dict[str, list[str]] = {}
    rest = iter(argv)
    for argument in rest:
        name, equals, value = argument.partition("=")
        if name == "-h":
            name = "--help"
        if name in FLAGS:
            if equals:
                raise UsageError(f"{name} takes no value: remove {value!r}")
        elif name not in VALUED:
            raise UsageError(f"unknown argument {argument!r}: see --help")
        elif not equals:
            following = next(rest, None)
            if following is None:
                raise UsageError(f"{name} needs a value: see --help")
            value = following
        given.setdefault(name, []).append(value)
    return given


def _size(given: dict[str, list[str]], name: str) -> int | None:
    return _named(name, given[name][-1]) if name in given else None


def _model(given: dict[str, list[str]]) -> "AddressSpace | None":
    kernel = given.get("--kernel", ["real"])[-1]
    if kernel not in ("real", "model"):
        raise UsageError(f"unknown kernel {kernel!r}: use real or model")
    if kernel == "real":
        stray = sorted(OF_MODEL & set(given))
        if stray:
            raise UsageError(f"{stray[0]} needs the model kernel: add --kernel model")
        return None
    from .modelkernel import PAGE, AddressSpace

    asked = _size(given, "--page-size")
    page_size = PAGE if asked is None else asked
    task_size = _size(given, "--task-size")
    placement = given.get("--placement", ["top-down"])[-1]
    if placement not in ("top-down", "bottom-up"):
        raise UsageError(f"--placement {placement!r}: use top-down or bottom-up")
    pointer_size = _size(given, "--pointer-size")
    return AddressSpace(
        pointer_size=8 if pointer_size is None else pointer_size,
        page_size=page_size,
        task_size=None if task_size is None else task_size_of(task_size, page_size),
        top_down=placement == "top-down",
        mmap_base=_size(given, "--mmap-base"),
        rlimit_as=_size(given, "--rlimit-as"),
        hints_honoured="--ignore-hints" not in given,
        occupied=tuple(_range(text, page_size) for text in given.get("--occupied", ())),
        failures=tuple(map(_failure, given.get("--fail", ()))),
    )


def task_size_of(number: int, page_size: int = 4096) -> int:
    """Return the bytes of an address space given in bytes or, up to 64, in bits (minus a page)."""
    return (1 << number) - page_size if number <= 64 else number


def parse_size(text: str) -> int:
    """Return the bytes of `4096`, `0x1000`, `300M`, `2G`, also K, T, P. Raises ValueError."""
    digits, unit = text.strip(), 1
    if digits[:2].lower() != "0x" and digits[-1:].upper() in ("K", "M", "G", "T", "P"):
        unit = 1024 ** (" KMGTP".index(digits[-1].upper()))
        digits = digits[:-1]
    try:
        if not digits.isascii() or digits[:1] in "+-_" or len(digits) > 40:
            raise ValueError
        number = int(digits, 16 if digits[:2].lower() == "0x" else 10) * unit
    except ValueError:
        raise ValueError(f"{text[:60]!r} is not a size: write 4096, 0x1000, 300M or 2G") from None
    if number >= 1 << 64:
        raise ValueError(f"{text[:60]!r} is too large: a size has at most 64 bits")
    return number


def _named(name: str, text: str) -> int:
    try:
        return parse_size(text)
    except ValueError as error:
        raise UsageError(f"{name}: {error}") from None


def _range(text: str, page_size: int) -> tuple[int, int]:
    start, dash, end = text.partition("-")
    if not dash:
        raise UsageError(f"--occupied {text!r}: write two addresses, FROM-TO")
    low, high = _named("--occupied", start), _named("--occupied", end)
    if low >= high or (page_size and (low % page_size or high % page_size)):
        raise UsageError(
            f"--occupied {text!r}: FROM must be below TO, both multiples of {page_size}"
        )
    return low, high


def _failure(text: str) -> tuple[str, int, int]:
    call, _, rest = text.partition(":")
    nth, _, errno = rest.partition(":")
    if call not in ("mmap", "munmap", "mincore", "getrlimit") or not (
        nth.isdigit() and errno.isdigit() and int(nth) > 0 and 0 < int(errno) < 4096
    ):
        raise UsageError(f"--fail {text!r}: write CALL:N:ERRNO, for example mmap:2:12")
    return call, int(nth), int(errno)
