"""What depends only on a pair of profiles is prepared once. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from dnn_offload.cost.profile import Profile

T = TypeVar('T')


class PairCache(Generic[T]):
    """Remembers what was made of the last few pairs of profiles.

    Profiles hold dicts and cannot be hashed: pairs are known by object identity, with the
    profiles kept alive beside them so that an identity is never reused.

    Args:
        make: Makes it of the robot's and the server's profile.
        size: Pairs that are remembered.
    """

    def __init__(self, make: Callable[[Profile, Profile], T], size: int = 8) -> None:
        self._make = make
        self._size = size
        self._made: dict[tuple[int, int], tuple[Profile, Profile, T]] = {}

    def get(self, edge: Profile, server: Profile) -> T:
        """What ``make`` makes of this pair."""
        key = (id(edge), id(server))
        cached = self._made.get(key)
        if cached is None:
            while len(self._made) >= self._size:
                del self._made[next(iter(self._made))]
            cached = (edge, server, self._make(edge, server))
            self._made[key] = cached
        return cached[2]
