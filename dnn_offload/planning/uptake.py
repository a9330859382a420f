"""Whether the robot runs the plan that was published; what to do where it does not. Pure.

A plan can be missed (a lost message) or refused (another model, a slice that does not run).
Frames tell: each says under which plan it ran. A plan that is not taken is said once more
under a new id, then the robot is asked to run all locally for a while, and that is all: no
storm of plans, and what is assumed to run is soon what runs.
"""

from __future__ import annotations

import math

PATIENCE_S = 3.0           # frames under another plan for so long: not taken
MIN_FRAMES = 3             # as many at least: a straggler tells nothing
FIRST_HOLD_S = 30.0        # all-local for so long; doubles while no plan with a server is taken
MAX_HOLD_S = 480.0


class Uptake:
    """Watches frames for one planner; clocks are passed in, not thread-safe."""

    def __init__(self) -> None:
        self._plan_id = 0
        self._is_local = True
        self._tries = 0
        self._holds = 0
        self._hold_until_s = -math.inf
        self._repeat = False
        self._frames = 0
        self._since_s = math.inf
        self._other_id = 0
        self._late = False

    def reset(self) -> None:
        """Begin anew, e.g. with another life of the robot's inference."""
        self._tries = self._holds = 0
        self._hold_until_s = -math.inf
        self._repeat = False
        self._forget_frames()

    def published(self, plan_id: int, is_local: bool, *, again: bool = False) -> None:
        """A plan goes out; ``again``: the same as before under a new id."""
        self._plan_id, self._is_local = plan_id, is_local
        self._repeat = False
        if not again:
            self._tries = 0
        self._forget_frames()

    def frame(self, plan_id: int, now_s: float) -> bool:
        """A frame ended that ran under ``plan_id``; True if something is to be done now."""
        if plan_id == self._plan_id or not self._plan_id:
            self._tries = 0
            if not self._is_local:
                self._holds = 0
            self._forget_frames()
            return False
        self._frames += 1
        self._other_id = plan_id
        if self._frames == 1:
            self._since_s = now_s
        if self._frames < MIN_FRAMES or now_s - self._since_s < PATIENCE_S:
            return False
        self._late = True
        if self._tries == 0:
            self._tries, self._repeat = 1, True
            return True
        if self._tries == 1 and not self._is_local:
            self._tries = 2
            hold_s = min(FIRST_HOLD_S * 2.0 ** min(self._holds, 16), MAX_HOLD_S)
            self._holds += 1
            self._hold_until_s = now_s + hold_s
            return True
        return False

    def take_repeat(self) -> bool:
        """Whether the plan is to be said again under a new id; true once."""
        repeat, self._repeat = self._repeat, False
        return repeat

    def must_be_local(self, now_s: float) -> bool:
        """Whether only the all-local plan may be published now."""
        return now_s < self._hold_until_s

    @property
    def problem(self) -> str:
        """What is wrong, for people; empty while all is well."""
        if self._late:
            return (
                f'plan {self._plan_id} is not taken by the robot: its frames run under '
                f'plan {self._other_id}'
            )
        if self._tries:
            return f'plan was not taken by the robot; it was said again as plan {self._plan_id}'
        return ''

    def _forget_frames(self) -> None:
        self._since_s = math.inf
        self._frames = 0
        self._other_id = 0
        self._late = False
