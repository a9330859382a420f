"""Programs that have made processes and networks end once, and take them down."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

SCRIPT = """
import sys, time
from dnn_offload.ending import ending_politely
with ending_politely():
    try:
        print('made', flush=True)
        time.sleep(20)
    finally:
        print('taking down', flush=True)
        time.sleep(0.5)
        print('down', flush=True)
"""


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_further_signals_do_not_stop_what_takes_down(number: signal.Signals) -> None:
    process = subprocess.Popen(
        [sys.executable, '-c', SCRIPT], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == 'made\n'
    process.send_signal(number)
    assert process.stdout.readline() == 'taking down\n'
    for again in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        process.send_signal(again)
    assert process.stdout.readline() == 'down\n'
    expected = -signal.SIGINT if number == signal.SIGINT else 128 + number
    assert process.wait(10) == expected
    process.stdout.close()
