import json
from pathlib import Path

import pytest

from foothold_lab.allocator.death import Throw
from foothold_lab.allocator.sizes import NUM_SIZE_CLASSES, SizeClasses, init_sizes

TABLE = json.loads(
    (Path(__file__).parents[2] / "data/golden/size-classes.json").read_text("utf-8")
)["rows"]


def test_the_computed_classes_are_those_of_the_runtime() -> None:
    classes = SizeClasses()
    computed = [
        [
            sizeclass,
            size := classes.size[sizeclass],
            pages := classes.allocnpages[sizeclass],
            pages * 4096,
            pages * 4096 // size,
            pages * 4096 % size,
            classes.transfercount[sizeclass],
        ]
        for sizeclass in range(1, NUM_SIZE_CLASSES)
    ]
    assert computed == TABLE


def test_every_size_goes_to_the_smallest_class_that_holds_it() -> None:
    classes = SizeClasses()
    sizeclass = 1
    for size in range(1, 32769):
        if size > classes.size[sizeclass]:
            sizeclass += 1
        assert classes.of[size] == sizeclass
    assert classes.of[0] == 1


@pytest.mark.parametrize("size", [-1, 32769, 1 << 40])
def test_a_size_without_a_class_throws(size: int) -> None:
    with pytest.raises(Throw, match=r"^SizeToClass - invalid size$"):
        SizeClasses().of[size]


def test_a_wrong_number_of_classes_throws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("foothold_lab.allocator.sizes.NUM_SIZE_CLASSES", 60)
    printed: list[str] = []
    with pytest.raises(Throw, match=r"^InitSizes - bad NumSizeClasses$"):
        SizeClasses(printed.append)
    assert printed == ["sizeclass=61 NumSizeClasses=60\n"]


def test_a_step_other_than_a_power_of_two_throws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("foothold_lab.allocator.sizes.FIRST_ALIGN", 24)
    with pytest.raises(Throw, match=r"^InitSizes - bug$"):
        init_sizes()
