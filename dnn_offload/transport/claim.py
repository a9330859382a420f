"""Whether a robot that finds no place at a full server may have that of its former life. Pure.

A process that is killed says no good-bye, and DDS misses it only after 20 s. Its next life has the
same name but for the digits of the life (``names.new_client_id``). So has a robot that was given
another's ``client_id`` by mistake, and that one must not push the other out. What a robot sends by
itself does not tell them apart: an idle one probes every 1.5 s, on a slow link every 5 s or more.
So the one that holds the place is asked, by an ACCEPTED that answers no HELLO, and says at once
that it is there (``link.py``).
"""

from __future__ import annotations

from dataclasses import dataclass

# Unanswered questions that tell. Together they are twice the silence after which a robot itself
# takes a server for lost; counted, not only timed, since a server that was held up itself has
# answers waiting that it has not read.
QUESTIONS = 4
PERIOD_S = 0.5


@dataclass
class Claim:
    """A robot's claim to the place of its former life.

    Attributes:
        former: Name of that life.
    """

    former: str
    _asked: int = 0
    _first_s: float = float('inf')
    _next_s: float = float('-inf')

    def ask(self, now_s: float) -> bool:
        """Whether to ask now; that is counted as done."""
        if now_s < self._next_s or self._asked == QUESTIONS:
            return False
        self._asked += 1
        self._first_s = min(self._first_s, now_s)
        self._next_s = now_s + PERIOD_S
        return True

    def answered(self, heard_s: float) -> bool:
        """Whether the former life is there; it was last heard at ``heard_s``."""
        return heard_s > self._first_s

    def granted(self, now_s: float) -> bool:
        """Whether it has been silent for long enough; ask ``answered`` before."""
        return self._asked == QUESTIONS and now_s >= self._next_s
