"""Whether the plan that runs breaks what the user demands since: then it is left at once."""

from __future__ import annotations

from dnn_offload.planning.costs import thread_counts
from dnn_offload.planning.limits import why_not
from dnn_offload.planning.plan import Candidate, Conditions, Constraints
from dnn_offload.planning.value_rules import frontier_depth


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
