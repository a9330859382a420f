"""What the end of a process says of its cause."""

from __future__ import annotations

import signal

_CAUSES = {
    signal.SIGILL: (
        'an instruction that this processor does not have, most likely of torch: '
        '"dnn-offload doctor --only torch" says which version to take'
    ),
    signal.SIGKILL: (
        'if nobody sent it, the kernel did because memory ran out ("sudo dmesg | grep -i oom" '
        'tells): take a smaller network or input_size, or add swap; "dnn-offload doctor --only '
        'torch" says whether there is enough to load torch'
    ),
}


def signal_name(status: int) -> str:
    """Name of the signal that a process died from; '' if it ended by itself.

    Args:
        status: As ``subprocess`` tells it; negative = died from that signal.
    """
    if status >= 0:
        return ''
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f'signal {-status}'


def cause_of(status: int) -> str:
    """What kills so, and what to do; '' where the status alone does not tell."""
    return next((text for number, text in _CAUSES.items() if status == -number), '')


def how_it_ended(status: int) -> str:
    """The end of a sentence that begins with the process."""
    name, cause = signal_name(status), cause_of(status)
    if not name:
        return f'ended with status {status}'
    return f'died from {name}' + (f': {cause}' if cause else '')
