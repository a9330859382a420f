"""Robot, server, robot on a real network: every pair of cuts, by value, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest

from dnn_offload.codec import bundle
from dnn_offload.errors import CutError
from dnn_offload.graph.fingerprint import seeded_picture
from dnn_offload.graph.routes import find_route, Route
from dnn_offload.runtime.backends.torch_backend import TorchModel
from graph_models import Branches, exported


@pytest.fixture(scope='module')
def model() -> TorchModel:
    return TorchModel(*exported(Branches()))


def travel(model: TorchModel, route: Route, picture: np.ndarray) -> list[np.ndarray]:
    """A frame's way, with what is sent as bytes in both directions."""
    kept = model.run(model.piece(*route.head), [picture])
    values = {spec.name: array for spec, array in zip(route.kept, kept, strict=True)}
    up = bundle.encode([values[s.name] for s in route.sent], route.sent, 'raw')
    there = bundle.decode(up, route.sent, max_bytes=1 << 20)
    back = model.run(model.piece(*route.middle), there)
    down = bundle.encode(back, route.returned, 'raw')
    here = bundle.decode(down, route.returned, max_bytes=1 << 20)
    if route.rest is None:
        return here
    values |= {spec.name: array for spec, array in zip(route.returned, here, strict=True)}
    return model.run(model.piece(*route.rest), [values[name] for name in route.rest.inputs])


def test_every_pair_of_cuts_gives_what_the_whole_gives(model: TorchModel) -> None:
    picture = seeded_picture(*model.program.input.shape[1:3])
    last = len(model.cuts) - 1
    whole = model.run(model.segment(0, last), [picture])
    pairs = 0
    for first in model.cuts[:-1]:
        kept = model.run(model.segment(0, first.index), [picture]) if first.index else [picture]
        for second in model.cuts[first.index + 1:-1]:
            route = model.route(first.cut_id, second.cut_id, ())
            assert np.array_equal(travel(model, route, picture)[0], whole[0]), (first, second)
            rescued = model.run(model.piece(*route.tail), kept)
            assert np.array_equal(rescued[0], whole[0])
            pairs += 1
    assert pairs > 20


def test_a_skip_around_the_server_stays_on_the_robot(model: TorchModel) -> None:
    """The stem's output is read by both branches and by the sum after them."""
    first = next(c for c in model.cuts if c.index > 0 and len(c.frontier) == 1)
    second = next(c for c in model.cuts[first.index + 1:] if len(c.frontier) >= 2)
    route = model.route(first.cut_id, second.cut_id, ())
    (stem,) = (spec.name for spec in first.frontier)
    assert stem in {spec.name for spec in second.frontier}
    assert stem in route.rest.inputs
    assert stem not in {spec.name for spec in route.returned}


def test_what_only_the_rest_reads_is_not_sent(model: TorchModel) -> None:
    found = 0
    for first in model.cuts[:-1]:
        for second in model.cuts[first.index + 1:-1]:
            route = model.route(first.cut_id, second.cut_id, ())
            assert {s.name for s in route.sent} <= {s.name for s in route.kept}
            found += len(route.sent) < len(route.kept)
    assert found > 0


def test_a_cut_by_values_that_no_position_has(model: TorchModel) -> None:
    """One branch here, its sister there: the picture's stem crosses with one branch's end."""
    listed = [{s.name for s in cut.frontier} for cut in model.cuts]
    program = model.program
    picture = seeded_picture(*program.input.shape[1:3])
    whole = model.run(model.segment(0, len(model.cuts) - 1), [picture])
    made = 0
    for a in program.values:
        for b in program.values:
            names = {a.name, b.name}
            if len(names) < 2 or names in listed:
                continue
            try:
                route = find_route(program, names)
            except CutError:
                continue
            assert route.rest is None
            assert np.array_equal(travel(model, route, picture)[0], whole[0]), names
            made += 1
    assert made > 0


def test_no_way_is_refused(model: TorchModel) -> None:
    cuts = model.cuts
    for first, second in ((2, 2), (3, 1)):
        with pytest.raises(CutError):
            model.route(cuts[first].cut_id, cuts[second].cut_id, ())
    with pytest.raises(CutError, match='no such'):
        model.route('ffffffffffff', cuts[2].cut_id, ())
    with pytest.raises(CutError, match='no such value'):
        model.route('', '', ('nothing',))


def test_depth_is_that_of_what_is_sent(model: TorchModel) -> None:
    first, second = model.cuts[1], model.cuts[-2]
    assert model.route(first.cut_id, second.cut_id, ()).depth == first.depth
    assert model.route(model.cuts[0].cut_id, second.cut_id, ()).depth == 0


def test_routes_are_kept_and_bounded(model: TorchModel) -> None:
    one = model.route(model.cuts[1].cut_id, model.cuts[3].cut_id, ())
    assert model.route(model.cuts[1].cut_id, model.cuts[3].cut_id, ()) is one
