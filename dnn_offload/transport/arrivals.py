"""What was published and never given to its subscriber, by the publisher's own numbers. No ROS.

DDS numbers the messages of each publisher from 1 on. A number that is passed over was lost on the
way, or overwritten by a newer message before it was taken.
"""

from __future__ import annotations

from collections.abc import Collection


class Arrivals:
    """Counts the gaps in one topic's numbers. Not thread-safe; ``lost`` may be read anywhere.

    Numbers do not tell whose they are. So gaps count only once it is known that all the while the
    topic had one and the same publisher: a driver that was started anew begins at another number.
    """

    def __init__(self) -> None:
        self.lost = 0
        self._last: int | None = None
        self._open = 0  # gaps since the publisher was last looked at
        self._publishers: frozenset[bytes] = frozenset()

    def came(self, number: int | None) -> None:
        """A message was taken.

        Args:
            number: The publisher's number of it; None where the middleware has none.
        """
        if number is not None and self._last is not None and number > self._last:
            self._open += number - self._last - 1
        self._last = number

    def begin(self) -> None:
        """Another subscription: what came before it was not missed."""
        self._last = None

    def settle(self, publishers: Collection[bytes]) -> int:
        """Count the gaps since the last call, if the publisher is still the same.

        Args:
            publishers: Identities (gid) of the topic's publishers now.

        Returns:
            How many messages were found lost.
        """
        found, self._open = self._open, 0
        before, self._publishers = self._publishers, frozenset(publishers)
        if len(self._publishers) != 1 or before != self._publishers:
            return 0
        self.lost += found
        return found
