"""Power of this machine, read from its own sensors where it has one.

Read are the supply rail of an INA219/INA226/INA3221 (``/sys/class/hwmon``, and NVIDIA's older
driver under ``/sys/bus/i2c``), the rails of a Raspberry Pi 5's power chip (``vcgencmd
pmic_read_adc``) and the energy counters of x86 processors (RAPL, ``/sys/class/powercap``; since
2020 readable by root only). Every reader takes the root of the file system, so that tests can
hand in made-up trees. A sensor is used for one thing: to measure a ``PowerModel`` once
(``measure_board``); planning then reckons with the model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
import os
from pathlib import Path
import re
import statistics
import subprocess
import threading
import time
from typing import Protocol

import numpy as np

from dnn_offload.cost.energy import AUTO, PowerModel, UNKNOWN_HINT
from dnn_offload.errors import ConfigurationError

SAMPLE_PERIOD_S = 0.1     # each PMIC sample starts a process; faster would show in the reading
RADIO_TX_EXTRA_W = 0.7    # over idle; where it comes from: data/boards/raspberry_pi_4b.json
RADIO_RX_EXTRA_W = 0.28
# Others' fit of the power at a Pi 5's supply to its rails (pitop.hongjunwu.com/guide/power).
PMIC_SCALE, PMIC_OFFSET_W = 1.1451, 0.5879
SUPPLY_LABELS = ('POM_5V_IN', 'VDD_IN')  # of the three rails of a Jetson, the one that has all

Run = Callable[[Sequence[str]], str]


class PowerSensor(Protocol):
    """One sensor.

    Attributes:
        name: Name, for people.
        scope: What it measures, for people.
    """

    name: str
    scope: str

    def power_w(self) -> float:
        """Mean power since the last call, or power now [W]."""
        ...


class RaplSensor:
    """Energy counters of the processor packages; ``psys`` (the whole machine) where there is one.

    Args:
        zones: Folders with ``energy_uj``, not nested in one another.
        clock: Monotonic clock [s].
    """

    name = 'rapl'

    def __init__(self, zones: Sequence[Path], clock: Callable[[], float] = time.monotonic) -> None:
        self._zones = tuple(zones)
        self._clock = clock
        names = [_text(zone / 'name') for zone in zones]
        self.scope = 'whole machine' if names == ['psys'] else 'processor and its memory only'
        self._before = self._read()

    def power_w(self) -> float:
        """Mean power since the last call [W]; counters that have turned over are unwrapped."""
        at_s, energies = self._before
        self._before = now_s, later = self._read()
        joules = 0.0
        for zone, before_uj, after_uj in zip(self._zones, energies, later, strict=True):
            if after_uj < before_uj:
                after_uj += _number(zone / 'max_energy_range_uj')
            joules += 1e-6 * (after_uj - before_uj)
        return joules / max(now_s - at_s, 1e-9)

    def _read(self) -> tuple[float, list[float]]:
        return self._clock(), [_number(zone / 'energy_uj') for zone in self._zones]


class RailSensor:
    """A shunt sensor: each rail a file of power, or a pair of voltage and current.

    Args:
        name: Name of the chip.
        rails: Files of each rail, whose product in SI units is its power.
        units: Of each file of a rail: volt, ampere or watt per step.
        scope: What the rails feed.
    """

    def __init__(
        self,
        name: str,
        rails: Sequence[tuple[Path, ...]],
        units: Sequence[float],
        scope: str,
    ) -> None:
        self.name, self.scope = name, scope
        self._rails, self._units = tuple(rails), tuple(units)

    def power_w(self) -> float:
        """Power now [W]."""
        total = 0.0
        for rail in self._rails:
            watts = 1.0
            for path, unit in zip(rail, self._units, strict=True):
                watts *= unit * _number(path)
            total += watts
        return total


class PmicSensor:
    """The power chip of a Raspberry Pi 5.

    Args:
        run: Runs a command and returns what it prints.
    """

    name = 'pmic'
    scope = 'whole board but its USB ports, from the sum of the measured rails'

    def __init__(self, run: Run) -> None:
        self._run = run

    def power_w(self) -> float:
        """Power now [W]."""
        return PMIC_SCALE * pmic_rails_w(self._run(PMIC_COMMAND)) + PMIC_OFFSET_W


PMIC_COMMAND = ('vcgencmd', 'pmic_read_adc')
_PMIC_ROW = re.compile(r'(\w+)_([AV])\s+(?:current|volt)\(\d+\)=([\d.]+)[AV]')


def pmic_rails_w(text: str) -> float:
    """Sum over the rails of voltage times current, from the output of ``pmic_read_adc`` [W].

    Raises:
        ConfigurationError: There is no rail in it.
    """
    seen: dict[str, dict[str, float]] = {}
    for rail, quantity, value in _PMIC_ROW.findall(text):
        seen.setdefault(rail, {})[quantity] = float(value)
    rails = [pair['A'] * pair['V'] for pair in seen.values() if len(pair) == 2]
    if not rails:
        raise ConfigurationError('vcgencmd pmic_read_adc tells no power', given=text)
    return sum(rails)


def find_sensors(root: str | Path = '/', run: Run | None = None) -> list[PowerSensor]:
    """The sensors of this machine that can be read, those of the whole board first."""
    root = Path(root)
    found: list[PowerSensor] = []
    for make in (_find_shunts, lambda _: _find_pmic(run or _run), _find_rapl):
        found += make(root)
    return found


def measure_hint(root: str | Path = '/', run: Run | None = None) -> str:
    """What to do where the power is not known: the sensor of this machine, if it has one."""
    sensors = find_sensors(root, run)
    if not sensors:
        return UNKNOWN_HINT
    return (
        f'this machine has a power sensor, {sensors[0].name} ({sensors[0].scope}): measure it '
        f'with dnn-offload power --measure --sensor {sensors[0].name}, and set board to {AUTO}'
    )


def root_hint() -> str | None:
    """What a user who is not root may miss."""
    if os.geteuid() == 0:
        return None
    return 'run as root for the energy counters of x86 processors'


def mean_power_w(
    sensor: PowerSensor, seconds: float, sleep: Callable[[float], None] = time.sleep
) -> float:
    """Power over a while [W]."""
    sensor.power_w()  # a counter's first answer is about the time before
    samples = []
    for _ in range(max(round(seconds / SAMPLE_PERIOD_S), 1)):
        sleep(SAMPLE_PERIOD_S)
        samples.append(sensor.power_w())
    return statistics.fmean(samples)


def measure_board(
    name: str,
    sensor: PowerSensor,
    seconds: float = 5.0,
    sleep: Callable[[float], None] = time.sleep,
) -> PowerModel:
    """Measure idle, one and two computing threads; the machine should have nothing else to do.

    The radio's power is not measured: what it adds is assumed as for the boards that are known.

    Args:
        name: Name for the board.
        sensor: What to read.
        seconds: For each of the three.
        sleep: How to wait.
    """
    idle_w = mean_power_w(sensor, seconds, sleep)
    busy_w = []
    for threads in (1, 2):
        with _Burning(threads):
            busy_w.append(mean_power_w(sensor, seconds, sleep))
    return PowerModel(
        name=name,
        compute_w=busy_w[0],
        core_w=max(busy_w[1] - busy_w[0], 0.0),
        idle_w=idle_w,
        radio_tx_w=idle_w + RADIO_TX_EXTRA_W,
        radio_rx_w=idle_w + RADIO_RX_EXTRA_W,
        source=f'measured by its sensor {sensor.name} ({sensor.scope}), radio assumed',
        estimated=('radio_tx_w', 'radio_rx_w'),
    )


class _Burning:
    """Threads that compute until the end of the block."""

    def __init__(self, threads: int) -> None:
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._burn) for _ in range(threads)]

    def __enter__(self) -> None:
        for thread in self._threads:
            thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _burn(self) -> None:
        # Long vectors, so that the time is spent in NumPy's loops, which hold no lock.
        values = np.ones(1 << 18, np.float32)
        while not self._stop.is_set():
            np.multiply(values, np.float32(1.0001), out=values)
            np.minimum(values, np.float32(2.0), out=values)


def _find_shunts(root: Path) -> list[PowerSensor]:
    found: list[PowerSensor] = []
    for chip in sorted(Path(root, 'sys/class/hwmon').glob('hwmon*')):
        name = _text(chip / 'name')
        if name.startswith('ina') and (chip / 'power1_input').is_file():
            scope = 'the rail that the sensor is in'
            found.append(RailSensor(name, [(chip / 'power1_input',)], [1e-6], scope))
        elif name == 'ina3221':
            numbers = [n for n in (1, 2, 3) if (chip / f'curr{n}_input').is_file()]
            labels = [_text(chip / f'in{n}_label') for n in numbers]
            chosen, scope = _supply(numbers, labels)
            rails = [(chip / f'in{n}_input', chip / f'curr{n}_input') for n in chosen]
            if rails:
                found.append(RailSensor(name, rails, [1e-3, 1e-3], scope))
    # NVIDIA's driver before JetPack 5.
    for chip in sorted(Path(root, 'sys/bus/i2c/drivers/ina3221x').glob('*/iio:device*')):
        numbers = [n for n in (0, 1, 2) if (chip / f'in_power{n}_input').is_file()]
        chosen, scope = _supply(numbers, [_text(chip / f'rail_name_{n}') for n in numbers])
        if chosen:
            files = [(chip / f'in_power{n}_input',) for n in chosen]
            found.append(RailSensor('ina3221x', files, [1e-3], scope))
    return found


def _supply(numbers: Sequence[int], labels: Sequence[str]) -> tuple[Sequence[int], str]:
    """The rail that feeds all others, else all rails."""
    for number, label in zip(numbers, labels, strict=True):
        if label in SUPPLY_LABELS:
            return [number], f'whole board ({label})'
    return numbers, 'sum of the rails ' + ', '.join(label or '?' for label in labels)


def _find_pmic(run: Run) -> list[PowerSensor]:
    try:
        pmic_rails_w(run(PMIC_COMMAND))
    except (OSError, subprocess.SubprocessError, ConfigurationError):
        return []  # not a Raspberry Pi 5
    return [PmicSensor(run)]


def _find_rapl(root: Path) -> list[PowerSensor]:
    zones = []
    for zone in sorted(Path(root, 'sys/class/powercap').glob('intel-rapl:*')):
        if zone.name.count(':') > 1:
            continue  # a part of a package
        try:
            _number(zone / 'energy_uj')
        except ConfigurationError:
            continue  # for root only
        if _text(zone / 'name') == 'psys':
            return [RaplSensor([zone])]
        zones.append(zone)
    return [RaplSensor(zones)] if zones else []


def _run(command: Sequence[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, timeout=2, check=True).stdout


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding='ascii', errors='replace').strip()
    except OSError:
        return ''


def _number(path: Path) -> float:
    try:
        return float(path.read_text(encoding='ascii'))
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            'power sensor cannot be read',
            given=f'{path}: {error}',
            hint=root_hint(),
        ) from error
