"""Strategy ``roadrunner``: two partition points, robot, server, robot.

Kakolyris, Katsaragakis, Masouros and Soudris, "RoaD-RuNNer: Collaborative DNN partitioning and
offloading on heterogeneous edge systems", DATE 2023, Algorithm 1:

    for i in 0..N-1, for j in i+1..N-1:
        local(0..i) + network(i+1, j) + cloud(i+1..j) + local(j+1..N-1)
    keep what is Pareto optimal in latency and energy

Layers 0..i and j+1..N-1 run on the robot, i+1..j on the server; network(i+1, j) is sending the
input of layer i+1 and receiving the output of layer j. Skip connections are glued: layers
between which several values are alive are one block, so only cuts with a single tensor count.

As the paper means it, which is not as it is printed: the loops leave out all-local and
all-remote (the text keeps them), so cut 0 and the all-local plan are added. Layers and weights
are on the server already, the paper's "preOffloaded". Layer times are the profile's (theirs
come from factorisation), transfers the link estimate's, not a polynomial of 4th order. Loads
play no part in the paper: both machines are believed idle. The fixed cost per transfer and the
server's queue are counted as for every strategy; tensors are raw.

Two partition points are considered where ``Constraints.shapes`` allows ``two_cuts``. Of these
the fastest are returned and, where the robot's power is known (``Conditions.power``), those
that are Pareto optimal; which one runs is the objective's choice.
"""

from __future__ import annotations

from dnn_offload.cost.profile import Profile
from dnn_offload.planning import one_cut, two_cuts
from dnn_offload.planning.costs import local_candidates
from dnn_offload.planning.plan import Candidate, Conditions, Constraints, Scope
from dnn_offload.planning.price_table import RAW


def candidates(conditions: Conditions, constraints: Constraints) -> list[Candidate]:
    """All-local, cuts 0..N and pairs of cuts with raw tensors, both machines believed idle."""
    believed = conditions.believed(edge_load=1.0, server_load=1.0)
    scope = Scope(codecs=(RAW,), cuts=block_ends(conditions.edge_profile))
    found = local_candidates(believed, constraints)
    found += one_cut.candidates(believed, constraints, scope)
    if two_cuts.SHAPE in constraints.shapes:
        found += two_cuts.candidates(believed, constraints, scope)
    return found


def block_ends(profile: Profile) -> tuple[int, ...]:
    """Cuts that a single tensor crosses; all cuts where the profile does not tell."""
    return tuple(cut.index for cut in profile.cuts if len(cut.frontier) <= 1)
