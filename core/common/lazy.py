"""A property that is computed once, without a lock.

Before Python 3.12, ``functools.cached_property`` holds one lock for all instances of a class. One visitor's slow value would
block all others.
"""

from collections.abc import Callable
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class lazy(Generic[T]):
    """Decorator that computes a method's value once and keeps it on the instance. At first, two threads may both compute it."""

    def __init__(self, make: Callable[[Any], T]) -> None:
        self._make, self._name, self.__doc__ = make, make.__name__, make.__doc__

    def __get__(self, instance: Any, owner: type | None = None) -> T:
        value = instance.__dict__[self._name] = self._make(instance)
        return value
