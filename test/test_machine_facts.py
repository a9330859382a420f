"""Clock, temperature and throttling from made-up /sys trees."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from dnn_offload.cost.machine_facts import MachineReader


def write(root: Path, name: str, text: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_a_machine_that_tells_nothing(tmp_path: Path) -> None:
    facts = MachineReader(str(tmp_path), vcgencmd='').read()
    assert math.isnan(facts.clock_hz)
    assert math.isnan(facts.temperature_c)
    assert facts.throttled is None
    assert facts.memory_total_bytes > facts.memory_available_bytes > 0


def test_clock_and_hottest_sensor(tmp_path: Path) -> None:
    for core, khz in enumerate((1_000_000, 1_400_000)):
        write(tmp_path, f'devices/system/cpu/cpu{core}/cpufreq/scaling_cur_freq', f'{khz}\n')
        write(tmp_path, f'devices/system/cpu/cpu{core}/cpufreq/cpuinfo_max_freq', '1500000\n')
    write(tmp_path, 'class/thermal/thermal_zone0/temp', '61000\n')
    write(tmp_path, 'class/hwmon/hwmon0/temp1_input', '72500\n')
    write(tmp_path, 'class/hwmon/hwmon0/temp2_input', '-273150\n')  # an absent sensor
    write(tmp_path, 'class/hwmon/hwmon0/temp3_input', 'garbage\n')
    facts = MachineReader(str(tmp_path), vcgencmd='').read()
    assert facts.clock_hz == pytest.approx(1.2e9)
    assert facts.clock_max_hz == pytest.approx(1.5e9)
    assert facts.temperature_c == pytest.approx(72.5)


@pytest.mark.parametrize(
    ('answer', 'throttled'),
    [('throttled=0x0', False), ('throttled=0x50005', True), ('throttled=0x50000', False),
     ('error', None)],
)
def test_raspberry_pi_tells_by_its_tool(
    tmp_path: Path, answer: str, throttled: bool | None
) -> None:
    tool = tmp_path / 'vcgencmd'
    tool.write_text(f'#!/bin/sh\necho "{answer}"\n')
    tool.chmod(0o755)
    assert MachineReader(str(tmp_path), vcgencmd=str(tool)).read().throttled is throttled


def test_a_tool_that_fails_means_unknown(tmp_path: Path) -> None:
    assert MachineReader(str(tmp_path), vcgencmd='/nonexistent').read().throttled is None


def test_intel_counts_throttling_events(tmp_path: Path) -> None:
    name = 'devices/system/cpu/cpu0/thermal_throttle/core_throttle_count'
    write(tmp_path, name, '7')
    reader = MachineReader(str(tmp_path), vcgencmd='')
    assert reader.read().throttled is False
    write(tmp_path, name, '9')
    assert reader.read().throttled is True
    assert reader.read().throttled is False
