"""Which servers may be used again after they were lost. Pure, clocks are passed in.

A single death is forgiven as soon as the server is back; each further one shortly after doubles
the wait before it is trusted, so that one that dies again and again does not take the stream
along.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
import math

from dnn_offload.errors import ConfigurationError


@dataclass
class _Record:
    """What is remembered of one server's deaths."""

    deaths: int = 0
    lost: bool = False
    blocked_until_s: float = -math.inf


class ServerTrust:
    """Remembers the deaths of all servers; not thread-safe.

    Args:
        first_backoff_s: Wait after a second death, once the server is ready again [s]; it
            doubles with each further one, and there is none after the first.
        max_backoff_s: Longest such wait [s].
        stable_s: For each time that a server stays so long, half its deaths are forgotten [s].

    Raises:
        ConfigurationError: ``stable_s`` is not above 0.
    """

    def __init__(self, first_backoff_s: float, max_backoff_s: float, stable_s: float) -> None:
        if not stable_s > 0.0:
            raise ConfigurationError('stable_s', given=stable_s, allowed='above 0')
        self._first_backoff_s = first_backoff_s
        self._max_backoff_s = max_backoff_s
        self._stable_s = stable_s
        self._records: dict[str, _Record] = {}

    def watch(self, lost: Collection[str], now_s: float) -> None:
        """Take which servers are lost now."""
        for name in lost:
            record = self._records.setdefault(name, _Record())
            if not record.lost:
                record.lost = True
                record.deaths = self._remembered_deaths(record, now_s) + 1
        for name, record in self._records.items():
            if record.lost and name not in lost:
                wait_s = self._first_backoff_s * 2.0 ** min(record.deaths - 2, 16)
                wait_s = wait_s if record.deaths > 1 else 0.0
                record.lost = False
                record.blocked_until_s = now_s + min(wait_s, self._max_backoff_s)
        self._records = {
            name: record for name, record in self._records.items()
            if record.lost or self._remembered_deaths(record, now_s)
        }

    def _remembered_deaths(self, record: _Record, now_s: float) -> int:
        stayed_s = max(now_s - record.blocked_until_s, 0.0)
        return record.deaths >> int(min(stayed_s / self._stable_s, 32.0))

    def blocked(self, now_s: float) -> dict[str, float]:
        """Servers that are not trusted yet, with the seconds left (infinite while lost)."""
        waits = {
            name: math.inf if record.lost else record.blocked_until_s - now_s
            for name, record in self._records.items()
        }
        return {name: wait for name, wait in waits.items() if wait > 0.0}
