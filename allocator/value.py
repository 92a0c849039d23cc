"""Frozen records without `dataclasses`, whose import would cost more than the allocator's own."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Self, dataclass_transform
else:

    def dataclass_transform(**_: object):
        """Stand in for the decorator of `typing`, which only a type checker reads."""
        return lambda cls: cls


@dataclass_transform(frozen_default=True, kw_only_default=True)
class Value:
    """A record that never changes: its slots are its fields, given by keyword.

    A subclass annotates its fields and lists them in `__slots__`; `defaults` holds the values of
    those that may be left out. A missing or unknown field raises TypeError.
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
        """Return the same record with other values in these fields."""
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
