"""Networks that take more than a picture: profiled, read again, and planned for by their graph."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from benchmarks import zoo_networks
from dnn_offload.cost.predict.fill import positions_of_cuts
from dnn_offload.cost.profile import Profile
from dnn_offload.graph.export import export
from dnn_offload.planning.layer_graph import layer_graph
from dnn_offload.planning.placement_graph import placement_graph
from dnn_offload.planning.plan import Conditions, Constraints, LinkState, ServerState
from dnn_offload.planning.search import ALL_SHAPES, plan
from dnn_offload.runtime.backends.torch_backend import TorchModel
from dnn_offload.runtime.profile_model import how_many
from dnn_offload.runtime.profile_quick import quick_profile
from dnn_offload.runtime.profiler import measure_profile

pytestmark = pytest.mark.usefixtures('one_thread')
LINK = LinkState(1.0, 20e6, 1.0, 20e6, 1.0)


@pytest.fixture(scope='module', params=['picture_and_state', 'encoder_decoder'])
def model(request: pytest.FixtureRequest) -> TorchModel:
    return TorchModel(*export(getattr(zoo_networks, request.param)()))


@pytest.fixture(scope='module', params=['measured', 'quick'])
def profile(request: pytest.FixtureRequest, model: TorchModel) -> Profile:
    if request.param == 'quick':
        return quick_profile(model, 1)
    return measure_profile(model, 1, fraction=1.0)


def test_a_profile_tells_all_inputs(profile: Profile, model: TorchModel) -> None:
    wanted = {spec.name: spec.nbytes for spec in model.program.inputs}
    assert len(wanted) == 2 and profile.inputs == wanted
    assert Profile.from_json(profile.to_json()) == profile
    assert set(profile.cuts[0].frontier) == set(wanted)
    assert positions_of_cuts(profile) == [cut.position for cut in model.cuts]


@pytest.mark.parametrize('fraction', [0.2, 1.0])
def test_the_fraction_is_what_is_measured(fraction: float, model: TorchModel) -> None:
    """The whole network, and of the inner cuts so many; time is left over."""
    found = measure_profile(model, 1, 60.0, fraction=fraction, other_threads=())
    last = len(found.cuts) - 1
    inner = sum(cut.measured for cut in found.cuts[1:-1])
    assert inner == min(how_many(last, fraction), last - 1)
    assert (inner == last - 1) == (fraction == 1.0)


def test_its_graph_knows_what_crosses_each_cut(profile: Profile, model: TorchModel) -> None:
    graph = layer_graph(profile)
    assert graph is not None and placement_graph(profile, profile) is not None
    for cut, alive in zip(model.cuts, graph.alive, strict=True):
        names = {graph.names[value] for value in np.flatnonzero(alive)}
        assert names == {spec.name for spec in cut.frontier}


def test_plans_of_every_shape_send_each_input_at_most_once(profile: Profile) -> None:
    wanted = Constraints(codecs=('raw',), shapes=ALL_SHAPES)
    server = ServerState('s', profile, LINK, 0.1, 0.0)
    found = plan('auto', Conditions(profile, 8.0, 1.0, (server,)), wanted)
    alone = [p for p in found if p.server and not p.return_id and not p.frontier]
    one = {p.cut_index: p for p in alone}
    assert len(one) == len(profile.cuts) - 1
    for cut in profile.cuts[:-1]:
        assert one[cut.index].uplink_bytes == cut.codecs['raw'].nbytes
    pairs = [p for p in found if p.return_id]
    assert pairs
    for pair, other in itertools.product(pairs, one.values()):
        if other.cut_index == pair.cut_index:
            assert 0 < pair.uplink_bytes <= other.uplink_bytes, 'what is read later stays here'
