"""Removes what a process made and could not remove, since it was killed outright. Root only.

A process of its own waits for the end of its maker. Where none watches, the next process that
makes namespaces or groups removes what others left.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time

from dnn_offload.own_program import own_program
from dnn_offload.testbed import network, quota
from dnn_offload.testbed.left_over import is_alive
from dnn_offload.testbed.shared_memory import segments, sweep

DYING_S = 10.0   # the pipe of a process is closed some time before it has gone
STOP_S = 15.0
_POLL_S = 0.05


class Guardian:
    """A process that removes what is left once we are gone; it ends with the ``with`` block."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Guardian:
        self._process = subprocess.Popen(  # a session of its own: no Ctrl-C ends it
            own_program('dnn_offload.testbed.guardian', str(os.getpid())),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True,
        )
        assert self._process.stdout is not None
        self._process.stdout.readline()  # what we make from now on it knows to be ours
        self._process.stdout.close()
        return self

    def __exit__(self, *failure: object) -> None:
        process = self._process
        if process is None or process.stdin is None:
            return
        with contextlib.suppress(OSError):
            process.stdin.write(b'nothing is left\n')
            process.stdin.close()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def main() -> int:
    """Wait for the end of our maker, whose number is given, and remove what it has left."""
    maker = int(sys.argv[1])
    before = segments()
    print('watching', flush=True)
    if sys.stdin.buffer.read():  # its last words; who was killed has none
        return 0
    end_s = time.monotonic() + DYING_S
    while is_alive(maker) and time.monotonic() < end_s:
        time.sleep(_POLL_S)
    network.remove_left_over()
    quota.remove_left_over()
    end_s = time.monotonic() + DYING_S
    while sweep(before) and time.monotonic() < end_s:  # what was killed takes a while to end
        time.sleep(_POLL_S)
    return 0


if __name__ == '__main__':
    sys.exit(main())
