"""Reading a mapping that somebody wrote by hand: every key is asked for, none is left over."""

from __future__ import annotations

from collections.abc import Sequence
import math
from typing import Any

from dnn_offload.errors import ConfigurationError
from dnn_offload.planning.objective import OBJECTIVES

__all__ = ['MAX_LOAD', 'OBJECTIVES', 'Reader']

MAX_LOAD = 4  # as the navigation stand-in can (demo/navigation_node.py)
_MISSING = object()


class Reader:
    """Gives the values of a mapping by kind; ``finish`` refuses what nobody asked for.

    Args:
        data: What YAML gave.
        what: For messages, e.g. ``scenario drive``.

    Raises:
        ConfigurationError: From every method: what, key, value given, what is allowed.
    """

    def __init__(self, data: object, what: str) -> None:
        if not isinstance(data, dict):
            raise ConfigurationError(
                f'{what} is not a mapping', given=repr(data), allowed='key: value'
            )
        self._data: dict[Any, Any] = data
        self.what = what
        self._asked: set[str] = set()

    def has(self, key: str) -> bool:
        """Whether a key is given."""
        return key in self._data

    def raw(self, key: str, default: object = _MISSING) -> Any:
        """A value as it is."""
        self._asked.add(key)
        if key in self._data:
            return self._data[key]
        if default is _MISSING:
            raise ConfigurationError(f'{self.what} lacks the key {key}')
        return default

    def text(self, key: str, default: object = _MISSING) -> str:
        """A string."""
        value = self.raw(key, default)
        if not isinstance(value, str):
            raise self._wrong(key, value, 'a text')
        return value.strip()

    def choice(self, key: str, default: str, allowed: Sequence[str]) -> str:
        """One of some strings."""
        value = self.raw(key, default)
        if value not in allowed and value != default:
            raise self._wrong(key, value, ', '.join(allowed))
        return str(value)

    def flag(self, key: str, default: bool) -> bool:
        """True or false."""
        value = self.raw(key, default)
        if not isinstance(value, bool):
            raise self._wrong(key, value, 'true or false')
        return value

    def number(
        self, key: str, default: object = _MISSING, *, low: float = -math.inf,
        high: float = math.inf,
    ) -> float:
        """A number within bounds; the default may be outside."""
        value = self.raw(key, default)
        good = isinstance(value, (int, float)) and not isinstance(value, bool)
        good = good and math.isfinite(value)
        if not good or not (low <= value <= high or (value == default and key not in self._data)):
            bounds = f'a number from {low:g}' + (f' to {high:g}' if high < math.inf else '')
            raise self._wrong(key, value, bounds)
        return float(value)

    def whole(
        self, key: str, default: object = _MISSING, *, low: int, high: int | None = None
    ) -> int:
        """A whole number within bounds."""
        value = self.number(key, default, low=low, high=math.inf if high is None else high)
        if value != int(value):
            raise self._wrong(key, value, 'a whole number')
        return int(value)

    def items(self, key: str, default: object = _MISSING) -> list[Any]:
        """A list; one value stands for a list of one."""
        value = self.raw(key, default)
        return list(value) if isinstance(value, list) else [value]

    def mapping(self, key: str, default: object = _MISSING) -> dict[str, Any]:
        """A mapping with texts as keys."""
        value = self.raw(key, default)
        if not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
            raise self._wrong(key, value, 'key: value')
        return value

    def finish(self, more: Sequence[str] = ()) -> None:
        """Refuse keys that nobody asked for, and that are not among some more."""
        self._asked |= set(more)
        unknown = [str(key) for key in self._data if key not in self._asked]
        if unknown:
            raise ConfigurationError(
                f'{self.what} has an unknown key', given=unknown[0],
                allowed=', '.join(sorted(self._asked)),
            )

    def _wrong(self, key: str, value: object, allowed: str) -> ConfigurationError:
        return ConfigurationError(f'{self.what}: {key}', given=repr(value), allowed=allowed)
