"""The plans that went out last, by their numbers, for the frames that still run under them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from dnn_offload.cost.profile import Profile
from dnn_offload.planning.costs import sane_load, slow_down, threads_of
from dnn_offload.planning.plan import Candidate, Sent
from dnn_offload.planning.price_table import PICTURE_CUT, thread_variants
from dnn_offload.planning.session_data import FrameEvidence
from dnn_offload.planning.sizes import Sizes

KEPT_PLANS = 16            # plans that are remembered, the one in force always


class _Published(NamedTuple):
    plan: Candidate
    idle_head_ms: float    # its head on the idle robot, as it was priced
    profiled_bytes: float  # that go up by the profile; 0 = nothing, or not known


def _published(
    plan: Candidate, edge_load: float, profile: Profile, sizes: Mapping[Sent, float]
) -> _Published:
    slower = slow_down(sane_load(edge_load), threads_of(plan.threads, profile))
    sent_bytes = 0.0 if plan.frontier else float(plan.uplink_bytes)  # placements go by value
    return _Published(
        plan, plan.head_ms / slower, sent_bytes / sizes.get((plan.cut_id, plan.codec), 1.0)
    )


class PublishedPlans:
    """Numbers plans from 1 and remembers the last ones.

    Attributes:
        last_id: Number of the plan in force; 0 = none.
        sizes: What plans are priced with, learnt from their frames.
    """

    def __init__(self) -> None:
        self.last_id = 0
        self.sizes = Sizes()
        self._count = 0
        self._plans: dict[int, _Published] = {}

    def add(
        self, plan: Candidate, edge_load: float, profile: Profile, *, trial: bool = False
    ) -> int:
        """Give a plan the next number, and return it.

        Args:
            plan: What goes out.
            edge_load: Load of the robot that it was priced with.
            profile: The robot's, that it was priced with.
            trial: Only single frames will run under it: ``last_id`` stays.
        """
        self._count += 1
        if not trial:
            self.last_id = self._count
        self._plans[self._count] = _published(plan, edge_load, profile, self.sizes.ratios)
        if len(self._plans) > KEPT_PLANS:  # trials may come and go while one plan stays
            del self._plans[next(number for number in self._plans if number != self.last_id)]
        return self._count

    def renew(self, plan: Candidate, edge_load: float, profile: Profile) -> None:
        """The plan in force, priced with another profile: its head took another time there."""
        if self.last_id in self._plans:
            self._plans[self.last_id] = _published(plan, edge_load, profile, self.sizes.ratios)

    def last(self) -> Candidate | None:
        """The plan in force, as it was priced; None before the first."""
        published = self._plans.get(self.last_id)
        return published.plan if published is not None else None

    def learn_size(self, frame: FrameEvidence, now_s: float) -> None:
        """Take what a frame that was answered has sent."""
        published = self._plans.get(frame.plan_id)
        if published is not None and frame.answered:
            sent = published.plan.cut_id, published.plan.codec
            self.sizes.add(sent, frame.sent_bytes, published.profiled_bytes, now_s)

    def threads(self, frame: FrameEvidence, profile: Profile) -> int:
        """Compute threads with which a frame ran."""
        published = self._plans.get(frame.plan_id)
        return threads_of(published.plan.threads if published is not None else 0, profile)

    def robot_share(self, frame: FrameEvidence, profiled_ms: float, profile: Profile) -> float:
        """Part of the network that the robot computed for a frame, before and after a server.

        Args:
            frame: The frame.
            profiled_ms: What ``profiled_ms`` gave for it.
            profile: The robot's.

        Returns:
            0 to 1.
        """
        if profile.whole_ms <= 0.0:
            return 0.0
        back = profile.by_id().get(frame.return_cut) if frame.return_cut else None
        rest_ms = back.tail_ms if back is not None else 0.0
        return min((profiled_ms + rest_ms) / profile.whole_ms, 1.0)

    def profiled_ms(self, frame: FrameEvidence, profile: Profile) -> float:
        """What the frame's piece on the robot took when it was profiled [ms].

        0 = nothing ran, or it is not known what: then the frame is no evidence of load.
        """
        published = self._plans.get(frame.plan_id)
        if published is None and frame.plan_id:
            return 0.0  # of a plan of long ago
        if published is not None and published.plan.frontier and frame.server:
            return published.idle_head_ms
        threads = published.plan.threads if published is not None else 0
        variant = thread_variants(profile).get(threads)
        if not frame.server:
            return profile.whole_ms if variant is None else variant.head_ms[-1]
        cut = profile.by_id().get(frame.cut)
        if cut is None or cut.index == PICTURE_CUT:
            return 0.0
        return cut.head_ms if variant is None else variant.head_ms[cut.index]
