"""Deaths are remembered as long as they count, and no longer."""

from __future__ import annotations

import pytest

from dnn_offload.errors import ConfigurationError
from dnn_offload.planning.server_trust import ServerTrust


def test_names_whose_deaths_count_no_more_are_forgotten() -> None:
    trust = ServerTrust(first_backoff_s=4.0, max_backoff_s=60.0, stable_s=10.0)
    for number in range(1000):
        trust.watch([f's{number}'], float(number))
    trust.watch([], 1000.0)
    assert len(trust._records) < 20


def test_a_second_death_counts_while_the_first_does() -> None:
    trust = ServerTrust(first_backoff_s=4.0, max_backoff_s=60.0, stable_s=10.0)
    for at_s in (100.0, 105.0):
        trust.watch(['s'], at_s)
        trust.watch([], at_s + 1.0)
        trust.watch([], at_s + 2.0)
    assert trust.blocked(108.0) == {'s': 2.0}
    trust.watch([], 110.0 + 20.0)
    assert trust.blocked(130.0) == {}
    trust.watch(['s'], 131.0)
    trust.watch([], 132.0)
    assert trust.blocked(132.0) == {}, 'the first one after a stable time'


def test_a_stable_time_of_nothing_is_refused() -> None:
    with pytest.raises(ConfigurationError, match='stable_s'):
        ServerTrust(first_backoff_s=4.0, max_backoff_s=60.0, stable_s=0.0)
