"""A wrapper around a kernel that records every call."""

from .kernel import MAP_FIXED
from .value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .kernel import Kernel

__all__ = ["Call", "Traced"]


class Call(Value):
    """One system call: name, arguments, and raw result (a negative errno on failure)."""

    __slots__ = ("args", "name", "result")
    name: str
    args: tuple[int, ...]
    result: int

    def __str__(self) -> str:
        if self.name == "getrlimit":
            return f"getrlimit(RLIMIT_AS) = {self.result:#x}"
        addr, length, *rest = self.args
        shown = [f"{addr:#x}" if addr else "NULL", str(length)]
        if rest:
            prot, flags = rest
            shown.append({0: "NONE", 3: "RW", 7: "RWX"}.get(prot, str(prot)))
            shown.append("FIXED" if flags & MAP_FIXED else "hint" if addr else "anywhere")
        result = f"{self.result:#x}" if self.result >= 0x1000 else _errno(self.result)
        return f"{self.name}({', '.join(shown)}) = {result}"


def _errno(result: int) -> str:
    if result >= 0:
        return str(result)
    from errno import errorcode

    return "-" + errorcode.get(-result, str(-result))


class Traced:
    """Makes each call on `kernel` and passes a record of it to `record`."""

    __slots__ = ("_kernel", "_record", "clear", "name", "page_size", "width", "words", "words_from")

    def __init__(self, kernel: "Kernel", record: "Callable[[Call], object]") -> None:
        self._kernel = kernel
        self._record = record
        self.name = kernel.name
        self.width = kernel.width
        self.page_size = kernel.page_size
        self.words = kernel.words
        self.clear = kernel.clear
        self.words_from = kernel.words_from

    def mmap(self, addr: int, length: int, prot: int, flags: int) -> int:
        """Map memory and record the call."""
        result = self._kernel.mmap(addr, length, prot, flags)
        self._record(Call(name="mmap", args=(addr, length, prot, flags), result=result))
        return result

    def munmap(self, addr: int, length: int) -> int:
        """Unmap memory and record the call."""
        result = self._kernel.munmap(addr, length)
        self._record(Call(name="munmap", args=(addr, length), result=result))
        return result

    def mincore(self, addr: int, length: int) -> int:
        """Query what is mapped and record the call."""
        result = self._kernel.mincore(addr, length)
        self._record(Call(name="mincore", args=(addr, length), result=result))
        return result

    def getrlimit(self) -> int:
        """Query the limit and record the call."""
        result = self._kernel.getrlimit()
        self._record(Call(name="getrlimit", args=(), result=result))
        return result
