"""Frozen records. Importing `dataclasses` would take longer than importing the allocator."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Self, dataclass_transform
else:

    def dataclass_transform(**_: object):
        """Replace the decorator of `typing`, which only a type checker needs."""
        return lambda cls: cls


@dataclass_transform(frozen_default=True, kw_only_default=True)
class Value:
    """An immutable record. Its slots are its fields, all given by keyword.

    A subclass annotates its fields and lists them in `__slots__`. A missing or unknown field raises
    TypeError.
    """

    __slots__: "tuple[str, ...]" = ()

    def __init__(self, **fields: "Any") -> None:
        names = self.__slots__
        for name in names:
            if name not in fields:
                raise TypeError(f"{type(self).__name__}: no value for {name}")
            object.__setattr__(self, name, fields.pop(name))
        if fields:
            raise TypeError(f"{type(self).__name__}: no such field: {', '.join(fields)}")

    def replace(self, **fields: "Any") -> "Self":
        """Return a copy with these fields replaced."""
        return type(self)(**{name: getattr(self, name) for name in self.__slots__} | fields)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} is frozen: {name} cannot be set")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__} is frozen: {name} cannot be deleted")

    def _key(self) -> "tuple[object, ...]":
        return tuple(getattr(self, name) for name in self.__slots__)

    def __eq__(self, other: object) -> bool:
        return (
            type(self) is type(other) and isinstance(other, Value) and self._key() == other._key()
        )

    def __hash__(self) -> int:
        return hash((type(self), self._key()))

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__slots__)
        return f"{type(self).__name__}({fields})"
