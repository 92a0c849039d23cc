"""A kernel that keeps a record of every call, around any other."""

from .kernel import MAP_FIXED
from .value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .kernel import Kernel

__all__ = ["Call", "Traced"]


class Call(Value):
    """One system call: its name, its arguments as the kernel saw them, its raw result."""

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
    """Hands each call on to `kernel`, and what came of it to `tell`."""

    __slots__ = ("_kernel", "_tell", "clear", "name", "page_size", "width", "words", "words_from")

    def __init__(self, kernel: "Kernel", tell: "Callable[[Call], object]") -> None:
        self._kernel = kernel
        self._tell = tell
        self.name = kernel.name
        self.width = kernel.width
        self.page_size = kernel.page_size
        self.words = kernel.words
        self.clear = kernel.clear
        self.words_from = kernel.words_from

    def mmap(self, addr: int, length: int, prot: int, flags: int) -> int:
        """Map, and tell."""
        result = self._kernel.mmap(addr, length, prot, flags)
        self._tell(Call(name="mmap", args=(addr, length, prot, flags), result=result))
        return result

    def munmap(self, addr: int, length: int) -> int:
        """Unmap, and tell."""
        result = self._kernel.munmap(addr, length)
        self._tell(Call(name="munmap", args=(addr, length), result=result))
        return result

    def mincore(self, addr: int, length: int) -> int:
        """Ask what is mapped, and tell."""
        result = self._kernel.mincore(addr, length)
        self._tell(Call(name="mincore", args=(addr, length), result=result))
        return result

    def getrlimit(self) -> int:
        """Ask for the limit, and tell."""
        result = self._kernel.getrlimit()
        self._tell(Call(name="getrlimit", args=(), result=result))
        return result
