"""Helpers of the allocator tests: runtimes on model kernels, and their calls."""

from typing import Any

from foothold_lab.allocator.death import Console
from foothold_lab.allocator.malloc import Runtime
from foothold_lab.allocator.modelkernel import AddressSpace, ModelKernel
from foothold_lab.allocator.policy import POLICIES
from foothold_lab.allocator.trace import Call, Traced

MIB = 1 << 20
GIB = 1 << 30
UML_61 = 0x7FC0000000


class Lab:
    """A runtime before mallocinit, its kernel, its calls and its output."""

    def __init__(
        self,
        policy: str = "after",
        kernel: ModelKernel | None = None,
        end: int | None = None,
        **of_kernel: Any,
    ) -> None:
        self.kernel = ModelKernel(AddressSpace(**of_kernel)) if kernel is None else kernel
        self.calls: list[Call] = []
        self.console = Console()
        more = {} if end is None else {"end": end}
        self.runtime = Runtime(
            Traced(self.kernel, self.calls.append), POLICIES[policy], self.console, **more
        )

    def begin(self) -> Runtime:
        self.runtime.mallocinit()
        return self.runtime

    def since(self, n: int) -> list[str]:
        return [str(call) for call in self.calls[n:]]


def narrow(policy: str = "after", **of_kernel: Any) -> Lab:
    """A 386 program on a 64-bit kernel."""
    return Lab(policy, pointer_size=4, **{"task_size": 0xFFFFE000} | of_kernel)


def uml(policy: str = "after", **of_kernel: Any) -> Lab:
    """User-Mode Linux 6.1: slightly less than 39 bits, placement from the bottom up."""
    return Lab(policy, task_size=UML_61, top_down=False, **of_kernel)
