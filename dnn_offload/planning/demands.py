"""What the user demands: what of it has changed, and whether the plan that runs breaks it.

A change plans afresh, and a plan that breaks it is left at once.
"""

from __future__ import annotations

from dnn_offload.cost.energy import PowerModel
from dnn_offload.cost.profile import Profile
from dnn_offload.planning.costs import thread_counts
from dnn_offload.planning.limits import why_not
from dnn_offload.planning.objective import Objective
from dnn_offload.planning.plan import Candidate, Conditions, Constraints
from dnn_offload.planning.price_table import profiled_thread_counts
from dnn_offload.planning.session_data import PlannerSettings
from dnn_offload.planning.value_rules import frontier_depth

DEMANDS = (
    'strategy', 'objective', 'load_source', 'private_layers', 'codecs', 'servers',
    'min_agreement', 'max_edge_memory_mb', 'max_server_memory_mb', 'threads', 'shapes', 'power',
)
PARAMETERS = {'threads': 'thread_counts', 'shapes': 'plan_shapes', 'power': 'board'}  # by users
NOTHING = {'threads': 'as they are set', 'shapes': 'one cut only', 'power': 'not known'}


def changed(old: PlannerSettings, new: PlannerSettings) -> list[str]:
    """The demands that differ, each in words, by the parameter's name."""
    return [
        f'{PARAMETERS.get(name, name)} = {_show(getattr(new, name), NOTHING.get(name, "any"))}'
        for name in DEMANDS
        if getattr(new, name) != getattr(old, name)
    ]


def is_legal(plan: Candidate, conditions: Conditions, constraints: Constraints) -> bool:
    """Whether a plan that runs breaks nothing of what is demanded now."""
    edge = conditions.edge_profile
    if constraints.threads and plan.threads not in thread_counts(edge, constraints):
        return False
    if why_not(plan, conditions, constraints):
        return False
    if plan.is_local:
        return True
    cut = edge.by_id().get(plan.cut_id)
    depth = -1 if cut is None else cut.depth
    if plan.frontier:
        depth = frontier_depth(edge, plan.frontier)
    used = {plan.codec, plan.return_codec or plan.codec}
    return (
        depth >= constraints.private_layers
        and (not constraints.codecs or used <= set(constraints.codecs))
        and (not constraints.servers or plan.server in constraints.servers)
    )


def unmeasured_threads(profile: Profile, constraints: Constraints) -> str:
    """Why no plan obeys the thread counts that are demanded; empty while some do."""
    measured = profiled_thread_counts(profile)
    if not constraints.threads or measured & set(constraints.threads):
        return ''
    return (
        f'thread_counts {_show(constraints.threads, "")}: none was profiled, threads stay as they '
        f'are set; profiled are {", ".join(str(count) for count in sorted(measured))}'
    )


def _show(value: object, nothing: str) -> str:
    """A demand in words; ``nothing`` if there is none."""
    if isinstance(value, (Objective, PowerModel)):
        return value.name
    if value is None or value == ():
        return nothing
    if isinstance(value, tuple):
        return ', '.join(str(item) for item in value)
    return str(value)
