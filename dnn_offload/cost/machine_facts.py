"""Memory, clock, temperature and throttling of a Linux machine. psutil, no ROS.

What a machine does not tell is NaN or None: boards differ, and none of it is needed to plan.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
import math
from pathlib import Path
import shutil
import subprocess

import psutil

THROTTLED_NOW = 0xF  # of the firmware's flags
_PI_FIRMWARE = 'devices/platform/soc/soc:firmware/get_throttled'


@dataclass(frozen=True)
class MachineFacts:
    """One reading.

    Attributes:
        cpu_percent: CPU use of the machine since the last reading [%].
        clock_hz, clock_max_hz: Mean clock now, highest clock [Hz]; NaN = unknown.
        temperature_c: Hottest sensor [degree Celsius]; NaN = unknown.
        throttled: The machine says that it is slowed down now; None = it cannot tell.
        memory_total_bytes, memory_available_bytes: Physical memory.
    """

    cpu_percent: float
    clock_hz: float
    clock_max_hz: float
    temperature_c: float
    throttled: bool | None
    memory_total_bytes: int
    memory_available_bytes: int


class MachineReader:
    """Reads the facts; keeps what is needed for differences.

    Args:
        sys_root: Where /sys is, for tests.
        vcgencmd: Path of the Raspberry Pi's tool; None = look for it.
    """

    def __init__(self, sys_root: str = '/sys', vcgencmd: str | None = None) -> None:
        self._sys = Path(sys_root)
        self._vcgencmd = shutil.which('vcgencmd') if vcgencmd is None else vcgencmd
        self._throttle_count: int | None = self._core_throttle_count()
        psutil.cpu_percent(interval=None)  # the first call has nothing to compare with

    def read(self) -> MachineFacts:
        """All facts now; takes about a millisecond."""
        memory = psutil.virtual_memory()
        return MachineFacts(
            cpu_percent=float(psutil.cpu_percent(interval=None)),
            clock_hz=self._clock_hz('scaling_cur_freq'),
            clock_max_hz=self._clock_hz('cpuinfo_max_freq'),
            temperature_c=self._temperature_c(),
            throttled=self._throttled(),
            memory_total_bytes=int(memory.total),
            memory_available_bytes=int(memory.available),
        )

    def _clock_hz(self, name: str) -> float:
        values = [
            1e3 * value
            for value in self._numbers(f'devices/system/cpu/cpu[0-9]*/cpufreq/{name}')
        ]
        if values:
            return sum(values) / len(values)
        if self._sys != Path('/sys'):
            return math.nan
        frequency = psutil.cpu_freq()  # /proc/cpuinfo, where there is no cpufreq
        if frequency is None:
            return math.nan
        mhz = frequency.max if name == 'cpuinfo_max_freq' else frequency.current
        return 1e6 * mhz if mhz else math.nan

    def _temperature_c(self) -> float:
        """The hottest plausible sensor, from hwmon and thermal zones (both m degree C)."""
        readings = [
            1e-3 * value
            for pattern in ('class/thermal/thermal_zone*/temp', 'class/hwmon/hwmon*/temp*_input')
            for value in self._numbers(pattern)
        ]
        plausible = [value for value in readings if 0.0 < value < 150.0]
        return max(plausible, default=math.nan)

    def _throttled(self) -> bool | None:
        flags = read_firmware_flags(self._sys, self._vcgencmd)
        if flags is not None:
            return bool(flags & THROTTLED_NOW)
        count, before = self._core_throttle_count(), self._throttle_count
        self._throttle_count = count
        if count is None or before is None:
            return None
        return count > before

    def _core_throttle_count(self) -> int | None:
        """Intel: events since boot, over all cores."""
        counts = list(
            self._numbers('devices/system/cpu/cpu[0-9]*/thermal_throttle/core_throttle_count')
        )
        return int(sum(counts)) if counts else None

    def _numbers(self, pattern: str) -> Iterator[float]:
        for file in self._sys.glob(pattern):
            try:
                yield float(_read(file))
            except ValueError:
                continue  # a sensor that is switched off


def read_firmware_flags(sys_root: Path, vcgencmd: str | None) -> int | None:
    """What a Raspberry Pi's firmware says of its supply and clock; None = no such firmware.

    Bits 0 to 3 are now: under-voltage, frequency capped, throttled, soft temperature limit; bits
    16 to 19 the same since boot (``vcgencmd get_throttled``).

    Args:
        sys_root: Where /sys is.
        vcgencmd: Path of the tool that is asked where /sys does not tell; None or '' = none.
    """
    text = _read(sys_root / _PI_FIRMWARE)
    if not text and vcgencmd:
        text = _ask_firmware(vcgencmd)
    try:
        return int(text.rpartition('=')[2], 16)
    except ValueError:
        return None


def _ask_firmware(vcgencmd: str) -> str:
    try:
        return subprocess.run(
            [vcgencmd, 'get_throttled'], capture_output=True, text=True, timeout=0.5, check=True,
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ''


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding='ascii', errors='replace').strip()
    except OSError:
        return ''
