"""When to change the plan: at once where it must be, otherwise only for a lasting gain.

The policy is fed at every planner tick with the ranked candidates *under the conditions of
now* and answers with the plan to run. Plans are compared by ``Candidate.cost``: the latency, or
the value of another objective. It guards against the ways in which a planner
oscillates under constant conditions:

- noise: a gain counts only above what is demanded (``min_gain_ms``, ``min_gain_ratio``), and
  only when it lasts: 1.5 times the demanded gain for ``hold_ticks`` ticks, a smaller one for
  longer (a one-sided cumulative sum of the excess, as in change detection);
- estimates that depend on what runs (a robot that computes reads its load elsewhere than
  one that does not; a link that is used is measured otherwise than one that is probed):
  the price of what does not run is corrected by what was learned when it was left
  (``promises.py``), and each return to a plan that was left shortly before raises the gain
  demanded next time, but where the world has moved by then (``moved_world.py``);
- prices that no frame has tested (``trials.py``): such a plan is not switched to before some
  frames have run under it;
- a server that dies again and again (``server_trust.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
import math

from dnn_offload.errors import ConfigurationError, PlanningError
from dnn_offload.planning.costs import wait_doubt_ms
from dnn_offload.planning.moved_world import MovedWorld
from dnn_offload.planning.objective import LATENCY, LATENCY_OBJECTIVE, Objective
from dnn_offload.planning.plan import Candidate, Key, plan_name
from dnn_offload.planning.promises import Promises
from dnn_offload.planning.server_trust import ServerTrust

FORGET_RETURNS_S = 60.0    # half-life of the memory of returns
QUICK_RETURN_S = 10.0      # a return after less than this counts in full
CLEAR_GAIN = 3.0           # times the least gain: so much more is no noise, the world has moved
MAX_CAUTION = 8.0          # most that the demanded gain is multiplied by
MAX_NEEDED = 0.5           # share of the latency; caution lets a plan pass that is twice as fast
FULL_STEP = 2.0            # a gain half as large again as the least counts as a whole tick
MOVED_STEP = 3.0           # ticks that one counts for where a place costs far else than it did
CLOSE = 0.8                # of the least gain: prices may be off by the rest unnoticed
AS_GOOD = 0.05             # prices this near are equal: of two plans the robot's own is surer
REASON_CHARS = 512


@dataclass(frozen=True)
class Decision:
    """What to run now, and why.

    Attributes:
        candidate: The plan to run, priced under the conditions of now.
        switched: Whether it differs from the plan of the last decision.
        reason: Why, in words and numbers; why not, when ``switched`` is false.
        urgent: Switched at once because the old plan cannot go on.
        previous_ms: Predicted latency of the plan that was left, under the same
            conditions; NaN when there was none or it cannot run any more.
        trial: A plan that would have been chosen, had a frame tested its price.
    """

    candidate: Candidate
    switched: bool
    reason: str
    urgent: bool = False
    previous_ms: float = math.nan
    trial: Candidate | None = None


@dataclass
class _Memory:
    """What the policy remembers of its own switches."""

    current: Candidate | None = None
    better_ticks: int = 0
    excess: float = 0.0
    is_close: bool = False  # not enough is gained, but nearly
    left_at_s: dict[Key, float] = field(default_factory=dict)
    returns: float = 0.0
    returns_at_s: float = 0.0
    promises: Promises = field(default_factory=Promises)
    world: MovedWorld = field(default_factory=MovedWorld)
    before: Candidate | None = None  # ran until the reset
    awaited: Key | None = None  # is being tried, and may be the first plan then
    tried_for: Key | None = None  # the first that was to be tried since a gain has lasted
    sure: frozenset[str] = frozenset()

    def runs(self, plan: Candidate, now_s: float) -> None:
        """Take the price of the plan that runs."""
        self.promises.runs(plan.key, plan.cost, now_s)
        self.world.runs(plan.key, plan.cost, now_s)


class SwitchPolicy:
    """Decides tick by tick; one per planner. Not thread-safe.

    Args:
        min_gain_ms: Least predicted gain worth a switch [ms]; for objectives in ms.
        min_gain_ratio: The same as a share of the current plan's cost.
        hold_ticks: Ticks for which 1.5 times the least gain must last; a gain of 1.25 times the
            least must last twice as long, one of 1.1 times five times as long.
        first_backoff_s, max_backoff_s, stable_s: See ``ServerTrust``; the last above 0.

    Raises:
        ConfigurationError: A value out of its range.
    """

    def __init__(
        self,
        min_gain_ms: float = 1.0,
        min_gain_ratio: float = 0.12,
        hold_ticks: int = 3,
        *,
        first_backoff_s: float = 1.0,
        max_backoff_s: float = 60.0,
        stable_s: float = 10.0,
    ) -> None:
        if min_gain_ms < 0.0 or not math.isfinite(min_gain_ms):
            raise ConfigurationError('min_gain_ms', given=min_gain_ms, allowed='0 or more')
        if not 0.0 <= min_gain_ratio < 1.0:
            raise ConfigurationError('min_gain_ratio', given=min_gain_ratio, allowed='[0, 1)')
        if hold_ticks < 1:
            raise ConfigurationError('hold_ticks', given=hold_ticks, allowed='1 or more')
        if not 0.0 <= first_backoff_s <= max_backoff_s:
            raise ConfigurationError(
                'first_backoff_s', given=first_backoff_s, allowed='0..max_backoff_s'
            )
        self.objective: Objective = LATENCY_OBJECTIVE
        self.min_gain_ms = min_gain_ms
        self.min_gain_ratio = min_gain_ratio
        self.hold_ticks = hold_ticks
        self.frame_period_ms = 0.0  # between two pictures, at the next decision; 0 = not known
        self.robot_busier = False   # than the price of the robot knows yet
        self._memory = _Memory()
        self._trust = ServerTrust(first_backoff_s, max_backoff_s, stable_s)

    @property
    def current(self) -> Candidate | None:
        """The plan of the last decision, priced at that time."""
        return self._memory.current

    @property
    def wanted(self) -> frozenset[Key]:
        """Plans that must be among the candidates of a tick wherever they rank."""
        memory = self._memory
        known = [plan.key for plan in (memory.current, memory.before) if plan is not None]
        watched = memory.promises.watched
        return frozenset(known if watched is None else [*known, watched])

    @property
    def at_rest(self) -> bool:
        """Whether nothing is under way: no gain that nearly lasts, no trial, no price to watch."""
        memory = self._memory
        return (
            memory.current is not None
            and memory.excess == 0.0
            and not memory.is_close
            and memory.awaited is None
            and memory.promises.watched is None
        )

    def rest(self, now_s: float) -> None:
        """A tick without a search: the plan in force goes on at the price of the last one."""
        current = self._memory.current
        if current is not None:
            self._memory.runs(current, now_s)
            self._memory.world.rests(now_s)

    def reset(self, *, keep_promises: bool = False) -> None:
        """Forget the current plan, so that the next decision takes the best at once.

        For a change of strategy, model or constraint by the user. Deaths of servers are
        remembered.

        Args:
            keep_promises: Whether what was learnt of what-if prices still holds: the model is
                the same.
        """
        before = self._memory
        self._memory = _Memory()
        if keep_promises:
            self._memory.promises = before.promises
            self._memory.before = before.current or before.before

    def blocked(self, now_s: float) -> dict[str, float]:
        """Servers that are not trusted yet, with the seconds left (infinite while lost)."""
        return self._trust.blocked(now_s)

    def decide(
        self,
        ranked: Sequence[Candidate],
        now_s: float,
        lost: Collection[str] = (),
        *,
        fallback: Candidate | None = None,
        sure: Collection[str] = (),
        untried: Callable[[Candidate], bool] = lambda plan: False,
    ) -> Decision:
        """Take the tick's candidates, say what to run.

        Args:
            ranked: All legal candidates, best first, priced under the conditions of now
                (``search.plan``). A plan that is not in it cannot go on.
            now_s: Monotonic clock [s].
            lost: Servers that are lost now: silent, disconnected, or with a dead link.
                Their candidates are ignored until they are back and trusted again.
            fallback: What to run when nothing else remains (``costs.local_candidate``).
            sure: Places whose prices rest on frames that ran there lately; nothing that was
                learnt of what-if prices corrects those.
            untried: Whether a plan's price must be tested by frames before it may run.

        Raises:
            PlanningError: Nothing remains and there is no fallback.
        """
        self._trust.watch(lost, now_s)
        self._memory.sure = frozenset(sure)
        blocked = self.blocked(now_s)
        usable = [c for c in ranked if c.server not in blocked] if blocked else list(ranked)
        if not usable:
            if fallback is None:
                raise PlanningError(
                    'no plan remains',
                    given=f'{len(ranked)} candidates, servers not usable: {sorted(blocked)}',
                    allowed='at least one candidate on the robot or on a trusted server',
                    hint='pass costs.local_candidate(conditions) as fallback',
                )
            usable = [fallback]
        old = self._memory.current
        now_priced = next((c for c in usable if old is not None and c.key == old.key), None)
        if old is None:
            return self._begin(usable, now_s, untried)
        if now_priced is None:
            # At once, so what was never tried has to wait.
            best = next((c for c in usable if not untried(c)), usable[0])
            why = (
                f'server {old.server} lost'
                if old.server in lost
                else f'{plan_name(old)} is no longer possible'
            )
            return self._switch(
                best, now_s, f'{why}: {plan_name(best)}, {self._text(best.cost)}', urgent=True
            )
        if self._memory.awaited is not None:
            return self._first_after_trial(now_priced, usable, now_s, untried)
        watched = self._memory.promises.watched
        price = next((c.cost for c in usable if c.key == watched), None)
        self._memory.promises.observe(price, now_priced.cost, now_s)
        return self._weigh(now_priced, usable, now_s, untried)

    def _begin(
        self, usable: Sequence[Candidate], now_s: float, untried: Callable[[Candidate], bool]
    ) -> Decision:
        """The first plan after a start or a reset; the best of those tried while a better is."""
        best, trial = self._first(usable, now_s), None
        if untried(best):
            trial, best = best, next((c for c in usable if not untried(c)), best)
            trial = None if trial is best else trial
        name = f'first plan: {plan_name(best)}, {self._text(best.cost)}'
        if trial is not None:
            name += f', while {plan_name(trial)}, {self._text(trial.cost)}, is tried'
        made = self._switch(best, now_s, name)
        self._memory.awaited = None if trial is None else trial.key
        return replace(made, trial=trial)

    def _first_after_trial(
        self,
        now_priced: Candidate,
        usable: Sequence[Candidate],
        now_s: float,
        untried: Callable[[Candidate], bool],
    ) -> Decision:
        """The stream waits for one trial; then it gets the best plan that needs none.

        What else would have to be tried must gain as much as any later plan.
        """
        memory = self._memory
        memory.current = now_priced
        trial = next((c for c in usable if c.key == memory.awaited), None)
        if trial is not None and untried(trial):
            reason = f'first plan: {plan_name(now_priced)}, while {plan_name(trial)} is tried'
            return Decision(now_priced, False, reason[:REASON_CHARS], trial=trial)
        memory.awaited = None
        best = next((c for c in usable if not untried(c)), now_priced)
        name = f'first plan: {plan_name(best)}, {self._text(best.cost)}'
        if best.key == now_priced.key:
            return Decision(best, False, name[:REASON_CHARS])
        return self._switch(best, now_s, name)

    def _first(self, usable: Sequence[Candidate], now_s: float) -> Candidate:
        """The best plan after a reset; what did not run until then is priced as learnt."""
        before, promises = self._memory.before, self._memory.promises
        self._memory.before = None
        if before is None:
            return usable[0]
        running = next((c for c in usable if c.key == before.key), before)
        promises.leave(before.key, 0.0, before.server, now_s)  # what was watched is over
        best, _ = self._best_as_corrected(running, usable, now_s)
        if running not in usable and best is running:
            best = usable[0]
        promises.leave(running.key, running.cost, best.server, now_s)
        return best

    def _weigh(
        self,
        old: Candidate,
        usable: Sequence[Candidate],
        now_s: float,
        untried: Callable[[Candidate], bool],
    ) -> Decision:
        """Switch to the best if its gain is large enough and has lasted."""
        memory = self._memory
        memory.current = old
        memory.runs(old, now_s)
        best, best_cost = self._best_as_corrected(old, usable, now_s, doubted=True)
        gain = old.cost - best_cost
        places = _best_of_each_place(usable).items()
        memory.world.what_if({at: plan.cost for at, plan in places if at != old.server}, now_s)
        most = 1.0
        if memory.world.made_better(best.server, best.cost, now_s):
            most = MOVED_STEP
        if memory.world.made_worse(old.cost):  # by what may make the robot worse, too
            most = 1.0 if self.robot_busier and best.is_local else MOVED_STEP
        caution = self._caution(now_s) if most == 1.0 else 1.0
        in_ms = self.objective.unit == 'ms'
        floor, least_of_all = (self.min_gain_ms, 1e-3) if in_ms else (0.0, 1e-9)
        least = max(floor, self.min_gain_ratio * old.cost, least_of_all)
        # Caution must not demand the impossible; the user may.
        needed = min(least * caution, max(MAX_NEEDED * old.cost, least))
        needed += self._doubt_ms(old) + self._doubt_ms(best)
        numbers = self._numbers(old, best, best_cost, needed)
        memory.is_close = gain > CLOSE * least
        if best.key == old.key or gain <= 0.0:
            memory.better_ticks, memory.excess = 0, 0.0
        else:
            # What moved the world was seen in several frames or probes before a price said it.
            step = min(FULL_STEP * (gain / needed - 1.0), most)
            memory.excess = max(memory.excess + step, 0.0)
            memory.better_ticks = memory.better_ticks + 1 if memory.excess > 0.0 else 0
        if memory.excess < self.hold_ticks - 1e-9:
            memory.tried_for = None
            waited = 100.0 * memory.excess / self.hold_ticks
            return Decision(
                old,
                False,
                f'kept: {numbers}, sure to {waited:.0f} %)'[:REASON_CHARS],
                previous_ms=old.latency_ms,
            )
        if untried(best):
            memory.excess = float(self.hold_ticks)  # one tick that it fails, and it waits again
            found = self._tried_already(old, usable, needed, now_s, untried)
            if found is None:
                memory.tried_for = memory.tried_for or best.key
                return Decision(
                    old, False, f'trying on single frames: {numbers})'[:REASON_CHARS],
                    previous_ms=old.latency_ms, trial=best,
                )
            best, best_cost = found
            gain = old.cost - best_cost
            numbers = self._numbers(old, best, best_cost, needed)
        self._count_return(best.key, now_s, min(CLEAR_GAIN * least / gain, 1.0))
        memory.promises.leave(old.key, old.cost, best.server, now_s)
        return self._switch(
            best,
            now_s,
            f'{self._better}: {numbers}, for {memory.better_ticks} ticks)',
            previous_ms=old.latency_ms,
        )

    def _tried_already(
        self,
        old: Candidate,
        usable: Sequence[Candidate],
        needed: float,
        now_s: float,
        untried: Callable[[Candidate], bool],
    ) -> tuple[Candidate, float] | None:
        """What may run at once and gains enough, after one trial; None = wait for a trial.

        Predictions that are all too low by as much have their turn one after the other, and the
        stream would wait for all of them under a plan that is known to be worse.
        """
        first = self._memory.tried_for
        if first is None or any(c.key == first and untried(c) for c in usable):
            return None
        known = [c for c in usable if not untried(c)]
        best, cost = self._best_as_corrected(old, known, now_s)
        return (best, cost) if best.key != old.key and old.cost - cost >= needed else None

    def _numbers(self, old: Candidate, best: Candidate, cost: float, needed: float) -> str:
        gain = self._text(old.cost - cost)
        corrected = '' if cost == best.cost else f' corrected from {self._text(best.cost)}'
        return (
            f'{plan_name(old)} {self._text(old.cost)}, {plan_name(best)} {self._text(cost)}'
            f'{corrected} (gain {gain}, needed {self._text(needed)}'
        )

    def _best_as_corrected(
        self, old: Candidate, usable: Sequence[Candidate], now_s: float, *,
        doubted: bool = False,
    ) -> tuple[Candidate, float]:
        """The best plan and its cost, what-if prices corrected by what was learned.

        Args:
            old: What runs.
            usable: What could, the best first.
            now_s: Monotonic clock [s].
            doubted: Whether a plan has to be better by what its price may be off, too: by its
                wait, and beside the robot by ``AS_GOOD``. One that hangs on that must not hide
                one that is sure.
        """
        if doubted and self._doubts:
            doubts_ms = {plan.key: self._doubt_ms(plan) for plan in usable}
            usable = sorted(usable, key=lambda plan: plan.cost + doubts_ms[plan.key])
        best, best_cost = old, old.cost
        places, costs = _best_of_each_place(usable), dict[str, float]()
        for place, candidate in places.items():
            factor = 1.0
            if place not in self._memory.sure:
                factor = self._memory.promises.correction(place, old.server, now_s)
            costs[place] = candidate.cost * factor
            if costs[place] < best_cost:
                best, best_cost = candidate, costs[place]
        as_good = 1.0 - min(AS_GOOD, self.min_gain_ratio)
        if doubted and best.key != old.key and costs.get('', math.inf) * as_good < best_cost:
            best, best_cost = places[''], costs['']
        return best, best_cost

    @property
    def _doubts(self) -> bool:
        """Whether plans are judged by what their pictures wait."""
        return self.objective.name == LATENCY and self.frame_period_ms > 0.0

    def _doubt_ms(self, plan: Candidate) -> float:
        return wait_doubt_ms(plan, self.frame_period_ms) if self._doubts else 0.0

    def _text(self, cost: float) -> str:
        return self.objective.text(cost)

    @property
    def _better(self) -> str:
        return 'faster' if self.objective.name == LATENCY else f'better {self.objective.name}'

    def _switch(
        self,
        best: Candidate,
        now_s: float,
        reason: str,
        *,
        urgent: bool = False,
        previous_ms: float = math.nan,
    ) -> Decision:
        memory = self._memory
        if urgent:  # no noise, and what was learnt of noise before it is of another world
            memory.returns, memory.left_at_s = 0.0, {}
        elif memory.current is not None:
            memory.left_at_s[memory.current.key] = now_s
        memory.current = best
        memory.better_ticks, memory.excess = 0, 0.0
        memory.awaited = memory.tried_for = None
        return Decision(best, True, reason[:REASON_CHARS], urgent, previous_ms)

    def _caution(self, now_s: float) -> float:
        """Factor on the demanded gain, from recent returns."""
        memory = self._memory
        memory.returns *= 0.5 ** ((now_s - memory.returns_at_s) / FORGET_RETURNS_S)
        memory.returns_at_s = now_s
        return min(math.pow(2.0, memory.returns), MAX_CAUTION)

    def _count_return(self, target: Key, now_s: float, doubt: float) -> None:
        """A voluntary switch to ``target``: was it left shortly before?

        Args:
            target: Plan that is taken.
            now_s: Monotonic clock [s].
            doubt: 1 = the gain may be noise, towards 0 = it is so large that the world moved.
        """
        memory = self._memory
        left_s = memory.left_at_s.pop(target, None)  # counted once, however often it is taken
        memory.left_at_s = {
            key: at for key, at in memory.left_at_s.items() if now_s - at < FORGET_RETURNS_S
        }
        if left_s is None:
            return
        away_s = max(now_s - left_s, 1e-3)
        # A quick return means that the promise was false; a late one that the world moved.
        memory.returns += doubt * min(1.0, QUICK_RETURN_S / away_s) ** 2
        memory.returns = min(memory.returns, math.log2(MAX_CAUTION) + 1.0)


def _best_of_each_place(usable: Sequence[Candidate]) -> dict[str, Candidate]:
    """By server, '' = the robot; of plans that come best first."""
    best: dict[str, Candidate] = {}
    for candidate in usable:
        best.setdefault(candidate.server, candidate)
    return best
