"""Who is killed again and again is told why, and what to do."""

from __future__ import annotations

import signal

import pytest

from dnn_offload.process_end import cause_of, how_it_ended, signal_name


@pytest.mark.parametrize(
    ('number', 'cause', 'cure'),
    [
        (signal.SIGILL, 'an instruction that this processor does not have', 'which version'),
        (signal.SIGKILL, 'memory ran out', 'smaller network'),
    ],
)
def test_a_death_with_a_cause_says_it_and_what_to_do(
    number: signal.Signals, cause: str, cure: str
) -> None:
    said = how_it_ended(-number)
    assert said.startswith(f'died from {number.name}: ') and '\n' not in said
    assert cause in said and cure in said and 'dnn-offload doctor --only torch' in said


def test_other_ends_are_told_as_they_are() -> None:
    assert how_it_ended(3) == 'ended with status 3' and signal_name(3) == cause_of(3) == ''
    assert how_it_ended(-11) == 'died from SIGSEGV' and cause_of(-11) == ''
    assert how_it_ended(-64) == 'died from SIGRTMAX' and signal_name(-99) == 'signal 99'
    assert cause_of(0) == cause_of(4) == cause_of(9) == ''  # exit statuses are no signals
