import ctypes
from collections.abc import Callable

import pytest
from allocator_support import MIB, UML_61

from foothold_lab.allocator import realkernel
from foothold_lab.allocator.modelkernel import AddressSpace, ModelKernel
from foothold_lab.allocator.policy import POLICIES
from foothold_lab.allocator.predict import Prediction, predict
from foothold_lab.allocator.realkernel import RealKernel
from foothold_lab.allocator.trace import Call
from foothold_lab.allocator.value import Value


def uml(**more: object) -> ModelKernel:
    return ModelKernel(AddressSpace(task_size=UML_61, top_down=False, **more))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("policy", "kernel", "path", "outcome", "reason"),
    [
        ("after", ModelKernel(), "high", "allocates", "0xf800000000 was granted"),
        ("before", ModelKernel(), "high", "allocates", "0xf800000000 was assumed to be free"),
        (
            "after",
            uml(),
            "low",
            "allocates",
            "0xf800000000 was refused (the kernel gave 0x40000000 instead; the address space ends "
            "at 0x7fc0000000), the low arena is at 0x2500000",
        ),
        (
            "after",
            uml(rlimit_as=300 * MIB),
            "refused",
            "dies",
            "and it died: runtime: cannot reserve arena virtual address space",
        ),
        ("before", uml(), "refused", "dies", "and it died: runtime: out of memory"),
        (
            "after",
            ModelKernel(AddressSpace(failures=[("mmap", 1, 12)])),
            "low",
            "allocates",
            "0xf800000000 was refused (mmap gave errno 12)",
        ),
        (
            "memlimit",
            ModelKernel(AddressSpace(rlimit_as=300 * MIB)),
            "low",
            "allocates",
            "0xf800000000 was not tried, because RLIMIT_AS is too small",
        ),
        ("modern", ModelKernel(), "high", "allocates", "0xc000000000 was granted"),
        ("modern", uml(), "low", "allocates", "0xc000000000 was refused"),
        (
            "after",
            ModelKernel(AddressSpace(failures=[("mmap", 2, 13)])),
            "refused",
            "dies",
            "runtime: mmap: access denied",
        ),
    ],
)
def test_path_outcome_and_reason(
    policy: str, kernel: ModelKernel, path: str, outcome: str, reason: str
) -> None:
    prediction = predict(POLICIES[policy], kernel, workload="hello")
    assert (prediction.path, prediction.outcome) == (path, outcome)
    assert reason in prediction.reason
    assert prediction.status == (2 if outcome == "dies" else 0)


def test_reason_mentions_growth() -> None:
    prediction = predict(POLICIES["after"], uml(), workload="grow-600")
    assert prediction.path == "low-grown"
    assert "and grew past its reservation" in prediction.reason


def test_a_prediction_is_frozen_and_complete() -> None:
    prediction = predict(POLICIES["after"], uml())
    with pytest.raises(AttributeError):
        prediction.path = "high"  # type: ignore[misc]
    assert isinstance(prediction, Prediction)
    assert prediction.addresses["arena_start"] == 0xA500000
    assert prediction.stats["heap_sys"] > 0
    assert all(isinstance(call, Call) for call in prediction.calls)


def test_the_end_moves_the_low_arena_to_the_next_mib_past_256_kib() -> None:
    for end, base in ((0x2443A68, 0x2500000), (0x24C0000, 0x2500000), (0x24C0001, 0x2600000)):
        assert predict(POLICIES["after"], uml(), end=end).addresses["base"] == base


def test_unknown_workload() -> None:
    with pytest.raises(ValueError, match="unknown workload 'dance'"):
        predict(POLICIES["after"], ModelKernel(), workload="dance")


def test_policies_are_equal_if_their_fields_are() -> None:
    assert list(POLICIES) == [
        "before",
        "after",
        "grsec",
        "memlimit",
        "modern",
        "modern-arm64",
        "modern-1.24",
    ]
    assert len(set(POLICIES.values())) == len(POLICIES)
    dates = [policy.date for policy in POLICIES.values()]
    assert dates == sorted(dates)
    for name, policy in POLICIES.items():
        assert policy.name == name and len(policy.explanation) > 100
        assert policy.commit and policy.pointer_sizes in ((8,), (4, 8))


def test_values_are_frozen_comparable_and_complete() -> None:
    call = Call(name="munmap", args=(1, 2), result=0)
    assert call == Call(name="munmap", args=(1, 2), result=0)
    assert call != Call(name="munmap", args=(1, 2), result=-22)
    assert call != "munmap" and hash(call) == hash(Call(name="munmap", args=(1, 2), result=0))
    assert repr(call) == "Call(args=(1, 2), name='munmap', result=0)"
    with pytest.raises(AttributeError, match="Call is frozen: result"):
        call.result = 1  # type: ignore[misc]
    with pytest.raises(AttributeError, match="Call is frozen: result"):
        del call.result
    with pytest.raises(TypeError, match="Call: no value for result"):
        Call(name="munmap", args=())  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="Call: no such field: color"):
        Call(name="munmap", args=(), result=0, color=1)  # type: ignore[call-arg]
    assert isinstance(call, Value)


def test_calls_are_readable() -> None:
    shown = [
        str(Call(name="mmap", args=(0, 4096, 3, 0x22), result=-4095)),
        str(Call(name="mmap", args=(4096, 4096, 5, 0x32), result=4096)),
        str(Call(name="getrlimit", args=(), result=300)),
    ]
    assert shown == [
        "mmap(NULL, 4096, RW, anywhere) = -4095",
        "mmap(0x1000, 4096, 5, FIXED) = 0x1000",
        "getrlimit(RLIMIT_AS) = 0x12c",
    ]


class TestRealKernel:
    def test_calls_give_raw_results(self) -> None:
        kernel = RealKernel()
        base = kernel.mmap(0, 8192, 7, 0x22)
        assert base > 0 and base % kernel.page_size == 0
        assert kernel.mincore(base, 8192) == 0
        assert kernel.munmap(base, 8192) == 0
        assert kernel.mmap(0, 0, 7, 0x22) == -22
        assert kernel.munmap(1, 4096) == -22
        assert kernel.mincore(1, 4096) == -22
        assert kernel.getrlimit() > 0

    def test_words_are_memory(self) -> None:
        kernel = RealKernel()
        there = ctypes.create_string_buffer(64)
        shift, most = kernel.width.shift, kernel.width.mask
        index = ctypes.addressof(there) + 7 >> shift
        kernel.words[index] = most
        assert kernel.words[index] == most
        kernel.clear(index << shift, 1 << shift)
        assert there.raw == bytes(64)

    def test_the_end_is_after_brk_if_brk_is_low(self, monkeypatch: pytest.MonkeyPatch) -> None:
        kernel = RealKernel()
        for brk, end in (
            (0x2000000, 0x6000000),
            (0x555555000000, 7),
            (0, 7),
            (kernel.width.mask, 7),
        ):
            answers(monkeypatch, {"sbrk": brk})
            assert kernel.end(7) == end

    def test_errors_of_getrlimit(self, monkeypatch: pytest.MonkeyPatch) -> None:
        kernel = RealKernel()
        ctypes.set_errno(1)
        answers(monkeypatch, {"getrlimit": -1})
        assert kernel.getrlimit() < 0


def answers(monkeypatch: pytest.MonkeyPatch, results: dict[str, int]) -> None:
    """Replace the functions of the C library by this answer."""

    def function(name: str, *_: type, **__: type) -> Callable[..., int]:
        return lambda *_: results[name]

    monkeypatch.setattr(realkernel, "function", function)
