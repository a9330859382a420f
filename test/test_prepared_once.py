"""What depends on profiles alone is prepared once, however often plans are searched."""

from __future__ import annotations

from typing import Any

import pytest

from dnn_offload.planning import pair_prices, placement, price_table
from dnn_offload.planning.pair_cache import PairCache
from dnn_offload.planning.plan import Conditions, Constraints, LinkState, ServerState
from dnn_offload.planning.search import ALL_SHAPES, plan
from dnn_offload.simulate.made_up_graph import made_up_squeezenet

CACHES: tuple[PairCache[Any], ...] = (pair_prices._PAIRS, placement.GRAPHS, price_table.TABLES)


def test_ten_searches_prepare_each_pair_of_profiles_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made = dict.fromkeys(range(len(CACHES)), 0)
    for number, cache in enumerate(CACHES):
        make = cache._make

        def counted(edge: Any, server: Any, number: int = number, make: Any = make) -> Any:
            made[number] += 1
            return make(edge, server)

        monkeypatch.setattr(cache, '_make', counted)
    edge, servers = made_up_squeezenet(1.0), (made_up_squeezenet(4.0), made_up_squeezenet(2.0))
    for step in range(10):
        link = LinkState(2.0, 5e6 * (1 + step), 2.0, 20e6, 1.0)
        conditions = Conditions(edge, 1.0 + 0.1 * step, 1.0, tuple(
            ServerState(f's{number}', server, link) for number, server in enumerate(servers)
        ))
        assert plan('auto', conditions, Constraints(shapes=ALL_SHAPES))
    assert set(made.values()) == {len(servers)}
