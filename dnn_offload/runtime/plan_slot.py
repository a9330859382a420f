"""The plan in force and the one being prepared: make before break, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from dnn_offload.codec.registry import codec_named
from dnn_offload.errors import CutError, PlanningError
from dnn_offload.exchange import TRIAL_PATIENCE_S
from dnn_offload.runtime.frames import FramePlan, Span

if TYPE_CHECKING:
    from dnn_offload.graph.cuts import Cut
    from dnn_offload.runtime.backends.base import LoadedModel
    from dnn_offload.tensors import TensorSpec

FALLBACK_LABEL = 'fallback'
PRIVATE_LABEL = 'private'


@dataclass(frozen=True)
class PlanRequest:
    """A plan to run; ``cut_id``, ``codec`` and ``server`` empty = all on the robot.

    Attributes:
        plan_id: The planner's number of it.
        cut_id: Identity of the cut.
        codec: Codec of the tensors that cross.
        server: Name of the server.
        private_layers: Weighted layers that must run here before anything may leave: in force
            from the request on, whatever becomes of the plan.
        return_id, return_codec: Second cut, from which on all runs here again, and the codec of
            what comes back (empty = that of answers); no cut = the server runs to the end.
        frontier: Names of the values that cross, where the cut is none of the list.
        cut_index, label: Where about such a cut is, for people.
        threads: Compute threads of the worker; 0 = as set.
    """

    plan_id: int
    cut_id: str
    codec: str
    server: str
    private_layers: int = 0
    return_id: str = ''
    return_codec: str = ''
    frontier: tuple[str, ...] = ()
    threads: int = 0
    cut_index: int = 0
    label: str = ''


@dataclass
class Preparation:
    """A plan whose slices are being warmed.

    Attributes:
        plan: The plan.
        since_s: Since when it is wanted, steady clock.
        to_warm: Slices that have not run yet.
        frames: How many frames shall run under it, where it is a trial.
    """

    plan: FramePlan
    since_s: float
    to_warm: list[Span]
    frames: int = 0


class PlanSlot:
    """Active plan, pending plan, and one that is tried. Not thread-safe: the engine's lock guards.

    Args:
        model: The model; asked for routes only.
    """

    def __init__(self, model: LoadedModel) -> None:
        self._model = model
        self._cuts = model.cuts
        self._by_id = {cut.cut_id: cut for cut in model.cuts}
        self.active = self._local_plan(0, 0)
        self.pending: Preparation | None = None
        self._trial: Preparation | None = None
        self._warm: set[Span] = set()
        self._private_layers = 0
        self._nothing_leaves = False  # the newest request contradicts itself

    def adopt(self, model: LoadedModel) -> None:
        """The same network by another backend: nothing is warm, plans stay."""
        self._model = model
        self.cool()

    @property
    def last_cut(self) -> int:
        """Index of the cut that means all local."""
        return len(self._cuts) - 1

    def _local_plan(self, plan_id: int, epoch: int, threads: int = 0) -> FramePlan:
        cut = self._cuts[-1]
        return FramePlan(
            plan_id, epoch, cut.index, '', cut.label, '', '', (0, cut.index),
            (cut.index, cut.index), threads=threads,
        )

    def cut(self, index: int) -> Cut:
        """A cut by its index."""
        return self._cuts[index]

    def request(self, wanted: PlanRequest, now_s: float) -> None:
        """Make ``wanted`` the pending plan, in place of an older pending one.

        A trial that was asked for before it is over: the planner has decided without it.

        What it says about privacy is in force at once, also where it raises.

        Raises:
            CutError: The cut is not one of this model; the old plans go on.
            CodecError: There is no such codec; the old plans go on.
            PlanningError: It sends what it says must not leave; all runs here from now on.
        """
        self._private_layers = wanted.private_layers
        self._nothing_leaves = False
        if self._trial is not None and self._trial.plan.plan_id < wanted.plan_id:
            self._trial = None
        if self.pending is not None and not self.allows(self.pending.plan):
            self.pending = None
        if wanted.server == '':
            plan = self._local_plan(wanted.plan_id, 0, wanted.threads)
        else:
            plan = self._remote_plan(wanted)
            if plan.depth < wanted.private_layers:
                self._nothing_leaves = True
                self.pending = None
                raise PlanningError(
                    'plan sends what it says must stay on the robot; all runs here',
                    given=f'cut after {plan.depth} weighted layers',
                    allowed=f'{wanted.private_layers} or more',
                    hint='planner and robot have different models or versions',
                )
        spans = [span for span in self.spans(plan) if span not in self._warm]
        self.pending = Preparation(plan, now_s, spans)

    def request_trial(self, wanted: PlanRequest, frames: int, now_s: float) -> None:
        """Let ``frames`` single frames run under a plan when it is warm; the active one goes on.

        What ``wanted`` says about privacy and threads does not count. The trial is over after
        ``TRIAL_PATIENCE_S`` in any case: nobody waits for its frames any more.

        Raises:
            CutError: The cut is not one of this model.
            CodecError: There is no such codec.
        """
        plan = self._remote_plan(wanted)
        spans = [span for span in self.spans(plan) if span not in self._warm]
        self._trial = Preparation(replace(plan, threads=0), now_s, spans, frames)

    def end_old_trial(self, now_s: float) -> None:
        """Forget a trial whose frames nobody waits for any more."""
        if self._trial is not None and now_s - self._trial.since_s >= TRIAL_PATIENCE_S:
            self._trial = None

    @property
    def trial(self) -> FramePlan | None:
        """The plan that is tried, if it is warm and may send what it sends; else None."""
        trial = self._trial
        if trial is None or trial.to_warm or trial.frames <= 0 or not self.allows(trial.plan):
            return None
        # Frames of a trial belong to the epoch in which they run.
        active = self.active
        return replace(trial.plan, epoch=active.epoch, threads=active.threads)

    def started(self, plan: FramePlan) -> None:
        """A frame starts under ``plan``: a trial is over after as many as were asked for."""
        trial = self._trial
        if trial is not None and plan.plan_id == trial.plan.plan_id and not plan.is_local:
            trial.frames -= 1

    def repeat(self, plan: FramePlan) -> None:
        """A frame under ``plan`` has told nothing: one more, if that is still being tried."""
        trial = self._trial
        if trial is not None and plan.plan_id == trial.plan.plan_id and not plan.is_local:
            trial.frames += 1

    def allows(self, plan: FramePlan) -> bool:
        """Whether what ``plan`` sends may leave the robot, by the newest request."""
        if plan.is_local:
            return True
        return not self._nothing_leaves and plan.depth >= self._private_layers

    def _remote_plan(self, wanted: PlanRequest) -> FramePlan:
        """The plan of a request that names a server."""
        codec_named(wanted.codec)
        cut, back = self._by_id.get(wanted.cut_id), self._by_id.get(wanted.return_id)
        listed = cut is not None and cut.index != self.last_cut
        if not (listed or wanted.frontier) or (wanted.return_id and back is None):
            raise CutError(
                'plan names a cut that this model does not have',
                given=wanted.return_id if listed else wanted.cut_id,
                allowed=f'the {self.last_cut} cuts of the loaded model',
                hint='robot and planner have different models or versions; the old plan '
                'goes on',
            )
        if cut is not None and not wanted.return_id:
            return FramePlan(
                wanted.plan_id, 0, cut.index, cut.cut_id, cut.label, wanted.codec, wanted.server,
                (0, cut.index), (cut.index, self.last_cut), cut.depth, threads=wanted.threads,
            )
        if wanted.return_codec:
            codec_named(wanted.return_codec)
        route = self._model.route(wanted.cut_id, wanted.return_id, wanted.frontier)
        return FramePlan(
            wanted.plan_id, 0,
            cut.index if cut is not None else wanted.cut_index,
            wanted.cut_id,
            cut.label if cut is not None else wanted.label,
            wanted.codec, wanted.server,
            (0, cut.index) if cut is not None else route.head,
            (cut.index, self.last_cut) if cut is not None else route.tail,
            route.depth, route, wanted.return_id, back.index if back is not None else -1,
            wanted.return_codec, wanted.threads,
        )

    def spans(self, plan: FramePlan) -> list[Span]:
        """The slices that a plan needs here: head, tail for the rescue, rest after the answer."""
        wanted = [plan.head, plan.tail] + ([plan.rest] if plan.rest is not None else [])
        return [span for span in wanted if span[0] != span[1]]

    def specs_before(self, span: Span) -> tuple[TensorSpec, ...]:
        """What a slice of a plan that is being warmed takes."""
        if isinstance(span[0], int):
            return self.cut(span[0]).frontier
        known = list(self.cut(0).frontier)
        for preparation in self._preparations():
            route = preparation.plan.route
            if route is not None:
                known += [*route.kept, *route.returned]
        by_name = {spec.name: spec for spec in known}
        return tuple(by_name[name] for name in span[0])

    def _preparations(self) -> list[Preparation]:
        """What is being warmed, in order of importance."""
        return [made for made in (self.pending, self._trial) if made is not None and made.to_warm]

    @property
    def prepares(self) -> bool:
        """Whether a plan is pending, or one that is tried is not warm yet."""
        return self.pending is not None or bool(self._preparations())

    def next_to_warm(self) -> tuple[Span, float] | None:
        """A slice that must be warmed before a plan can run, and since when that is wanted [s]."""
        for preparation in self._preparations():
            return preparation.to_warm[0], preparation.since_s
        return None

    def warmed(self, span: Span) -> None:
        """A slice has run once on this thread."""
        self._warm.add(span)
        for preparation in self._preparations():
            if span in preparation.to_warm:
                preparation.to_warm.remove(span)

    def cool(self) -> None:
        """Forget what is warm (the thread count has changed, or what runs the network)."""
        self._warm.clear()
        self._trial = None
        if self.pending is not None:
            self.pending.to_warm = self.spans(self.pending.plan)

    def not_warmed(self, span: Span) -> FramePlan | None:
        """A slice does not run: give the plan up that needs it, and return it.

        The active plan goes on, as far as the newest request allows.
        """
        if self._trial is not None and span in self._trial.to_warm:
            given_up, self._trial = self._trial.plan, None
        else:
            given_up = None
        if self.pending is not None and span in self.pending.to_warm:
            given_up, self.pending = self.pending.plan, None
        return given_up

    def commit(self) -> FramePlan | None:
        """Switch to the pending plan if it is warm; frames from now on run under it."""
        if self.pending is None or self.pending.to_warm:
            return None
        self.active = replace(self.pending.plan, epoch=self.active.epoch + 1)
        self.pending = None
        return self.active

    def here(self, plan: FramePlan, label: str) -> FramePlan:
        """A plan run all on the robot; the label says why."""
        return replace(self._local_plan(plan.plan_id, plan.epoch), label=label)
