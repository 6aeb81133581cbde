"""A small cache of the values that were computed last."""

from collections.abc import Callable, Hashable
from typing import Any, Generic, TypeVar

T = TypeVar("T", bound=Any)


class Recent(Generic[T]):
    """The values that were computed last, by key. Thread-safe; two threads may compute the same value at once."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._values: dict[Hashable, T] = {}  # replaced, never changed

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """The value of a key; ``make`` computes it if it is not kept."""
        values = self._values
        if key not in values:
            values = self._values = dict([*values.items(), (key, make())][-self._most :])
        return values[key]

    @property
    def values(self) -> list[T]:
        return list(self._values.values())
