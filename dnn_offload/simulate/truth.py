"""What every plan costs in truth, and which is the best: the oracle that knows the world. Pure."""

from __future__ import annotations

from typing import NamedTuple

from dnn_offload.cost.profile import Profile
from dnn_offload.planning import costs, search
from dnn_offload.planning.plan import (
    Candidate,
    Conditions,
    Constraints,
    Key,
    LinkState,
    ServerState,
)
from dnn_offload.planning.session import PlannerSettings
from dnn_offload.simulate.frame_fates import price_ms
from dnn_offload.simulate.world import World

SERVER = 'server'


class _Now(NamedTuple):
    """Prices while one world lasts."""

    world: World
    conditions: Conditions
    plans: dict[Key, Candidate]
    local: Candidate
    best: Candidate
    best_ms: float


class Truth:
    """Prices plans under the true conditions; keeps them while the world stays the same object.

    The oracle takes the best plan of each moment, among all that ``auto`` may choose and the
    one in force, and pays nothing for a switch: nobody can be better.

    Args:
        edge, server: Profiles.
        settings: What the user demands of plans.
        growth: Of compute times at the stream's rate against the robot's profile.
        deadline_ms: Deadline that frames are judged by; 0 = none.
        frame_period_ms: Between two pictures; 0 = nothing waits.
    """

    def __init__(
        self,
        edge: Profile,
        server: Profile,
        settings: PlannerSettings,
        growth: float,
        deadline_ms: float,
        frame_period_ms: float = 0.0,
    ) -> None:
        self.edge, self.server = edge, server
        self.frame_period_ms = frame_period_ms
        self.growth = growth
        self.deadline_ms = deadline_ms
        self.best_changes = 0
        self._constraints = Constraints(
            settings.private_layers, settings.codecs, settings.servers, shapes=settings.shapes
        )
        self._now: _Now | None = None

    def price(self, world: World, plan: Candidate | None) -> Candidate:
        """A plan priced in truth, whether its server lives or not; None = all-local."""
        now = self._at(world)
        if plan is None or plan.is_local:
            return now.plans.get(plan.key, now.local) if plan is not None else now.local
        found = now.plans.get(plan.key)
        if found is None:
            found = now.plans[plan.key] = search.reprice(plan, now.conditions)
        return found

    def judge(self, world: World, plan: Candidate | None) -> tuple[float, float]:
        """What the plan in force costs in truth, and what the best one does [ms]."""
        mine_ms = self._price_ms(world, self.price(world, plan))
        best_ms = self._at(world).best_ms
        return mine_ms, min(best_ms, mine_ms)

    def best(self, world: World) -> Candidate:
        """The oracle's plan."""
        return self._at(world).best

    def _price_ms(self, world: World, plan: Candidate) -> float:
        load = world.edge_load * self.growth
        return price_ms(plan, self.edge, load, self.deadline_ms, world.server_up)

    def _at(self, world: World) -> _Now:
        before = self._now
        if before is not None and before.world is world:
            return before
        link = LinkState(
            world.alpha_ms, world.uplink_bps, world.alpha_ms, world.downlink_bps, 1.0
        )
        state = ServerState(SERVER, self.server, link, world.server_load, world.queue_ms)
        load = world.edge_load * self.growth
        conditions = Conditions(
            self.edge, load, world.edge_load, (state,), frame_period_ms=self.frame_period_ms
        )
        ranked = search.plan('auto', conditions, self._constraints)
        local = costs.local_candidate(conditions)
        best = min(ranked, key=lambda plan: self._price_ms(world, plan))
        self._now = _Now(
            world, conditions, {plan.key: plan for plan in ranked}, local, best,
            self._price_ms(world, best),
        )
        if before is not None and before.best.key != best.key:
            self.best_changes += 1
        return self._now
