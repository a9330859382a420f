"""What the kernel knows of its wall clock."""

from __future__ import annotations

import ctypes

# The kernel's own bound while nobody sets its clock right (NTP_PHASE_LIMIT); timedatectl calls
# everything below it synchronised, too. It grows by 0.5 ms a second: 9 hours after the last word.
UNSYNCHRONISED_S = 16.0
_ROOM_BYTES = 512  # of struct timex, 208 in Linux on 64 bit


class _Timex(ctypes.Structure):
    """The beginning of ``struct timex``; without modes nothing is set."""

    _fields_ = (
        ('modes', ctypes.c_uint), ('offset', ctypes.c_long), ('freq', ctypes.c_long),
        ('maxerror', ctypes.c_long), ('rest', ctypes.c_char * _ROOM_BYTES),
    )


def largest_error_s() -> float | None:
    """What the kernel's clock may be off by [s], as the kernel sees it; None = it does not tell.

    Of a container it is that of the host: they have one clock.
    """
    asked = _Timex()
    try:
        failed = ctypes.CDLL(None).adjtimex(ctypes.byref(asked)) < 0
    except (AttributeError, OSError):
        return None  # no such call in this C library
    return None if failed else asked.maxerror * 1e-6
