"""Power sensors, on made-up trees of files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from dnn_offload.cost.energy import UNKNOWN_HINT
from dnn_offload.cost.power_sensors import (
    find_sensors,
    mean_power_w,
    measure_board,
    measure_hint,
    pmic_rails_w,
    RaplSensor,
)
from dnn_offload.errors import ConfigurationError

PMIC = """\
 3V7_WL_SW_A current(0)=0.00000000A
   3V3_SYS_A current(1)=0.10000000A
  VDD_CORE_A current(7)=2.00000000A
 3V7_WL_SW_V volt(8)=3.79999600V
   3V3_SYS_V volt(9)=3.30000000V
  VDD_CORE_V volt(15)=0.90000000V
     EXT5V_V volt(24)=5.10000000V
      BATT_V volt(25)=0.00000000V
"""


def no_command(command: Sequence[str]) -> str:
    raise FileNotFoundError(command[0])


def write(root: Path, files: dict[str, object]) -> None:
    for name, value in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f'{value}\n', encoding='ascii')


def test_a_machine_without_sensors(tmp_path: Path) -> None:
    assert find_sensors(tmp_path, no_command) == []


def test_the_hint_names_the_sensor_that_there_is(tmp_path: Path) -> None:
    assert measure_hint(tmp_path, no_command) == UNKNOWN_HINT
    write(tmp_path, {
        'sys/class/hwmon/hwmon0/name': 'ina219', 'sys/class/hwmon/hwmon0/power1_input': 3_000_000,
    })
    hint = measure_hint(tmp_path, no_command)
    assert 'ina219' in hint and 'dnn-offload power --measure' in hint and 'auto' in hint
    assert 'pmic' in measure_hint(tmp_path / 'pi', lambda command: PMIC)


def test_rapl_counts_packages_once_and_unwraps(tmp_path: Path) -> None:
    base = 'sys/class/powercap/intel-rapl:'
    zones = {}
    for package, name in ((0, 'package-0'), (1, 'package-1')):
        zones[f'{base}{package}/name'] = name
        zones[f'{base}{package}/energy_uj'] = 1_000_000
        zones[f'{base}{package}/max_energy_range_uj'] = 10_000_000
    zones[f'{base}0:0/name'] = 'core'
    zones[f'{base}0:0/energy_uj'] = 77
    write(tmp_path, zones)
    (found,) = find_sensors(tmp_path, no_command)
    assert found.name == 'rapl'
    assert 'processor' in found.scope
    now_s = 0.0
    sensor = RaplSensor(
        [tmp_path / f'{base}0', tmp_path / f'{base}1'], clock=lambda: now_s
    )
    now_s = 2.0
    write(tmp_path, {f'{base}0/energy_uj': 5_000_000, f'{base}1/energy_uj': 500_000})
    # 4 J, and 9.5 J over the counter's end, in 2 s
    assert sensor.power_w() == pytest.approx(6.75)


def test_rapl_of_the_whole_machine_is_preferred(tmp_path: Path) -> None:
    base = 'sys/class/powercap/intel-rapl:'
    write(
        tmp_path,
        {
            f'{base}0/name': 'package-0', f'{base}0/energy_uj': 1,
            f'{base}1/name': 'psys', f'{base}1/energy_uj': 1,
        },
    )
    (sensor,) = find_sensors(tmp_path, no_command)
    assert sensor.scope == 'whole machine'


def test_ina219_tells_microwatts(tmp_path: Path) -> None:
    base = 'sys/class/hwmon/hwmon3/'
    write(tmp_path, {f'{base}name': 'ina219', f'{base}power1_input': 4_200_000})
    write(tmp_path, {'sys/class/hwmon/hwmon0/name': 'cpu_thermal'})
    (sensor,) = find_sensors(tmp_path, no_command)
    assert sensor.name == 'ina219'
    assert sensor.power_w() == pytest.approx(4.2)


def test_ina3221_takes_the_supply_rail(tmp_path: Path) -> None:
    base = 'sys/class/hwmon/hwmon1/'
    files: dict[str, object] = {f'{base}name': 'ina3221'}
    for n, (label, millivolt, milliampere) in enumerate(
        [('VDD_CPU', 1000, 500), ('VDD_IN', 5000, 800), ('VDD_SOC', 1000, 300)], 1
    ):
        files[f'{base}in{n}_label'] = label
        files[f'{base}in{n}_input'] = millivolt
        files[f'{base}curr{n}_input'] = milliampere
    write(tmp_path, files)
    (sensor,) = find_sensors(tmp_path, no_command)
    assert sensor.power_w() == pytest.approx(4.0)
    assert 'VDD_IN' in sensor.scope
    write(tmp_path, {f'{base}in2_label': 'VDD_GPU'})
    (sensor,) = find_sensors(tmp_path, no_command)
    assert sensor.power_w() == pytest.approx(0.5 + 4.0 + 0.3)
    assert 'sum' in sensor.scope


def test_old_driver_of_the_jetson_nano(tmp_path: Path) -> None:
    base = 'sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0/'
    rails = [('POM_5V_IN', 3210), ('POM_5V_GPU', 400), ('POM_5V_CPU', 700)]
    files = {}
    for n, (name, milliwatt) in enumerate(rails):
        files[f'{base}rail_name_{n}'] = name
        files[f'{base}in_power{n}_input'] = milliwatt
    write(tmp_path, files)
    (sensor,) = find_sensors(tmp_path, no_command)
    assert sensor.power_w() == pytest.approx(3.21)


def test_pmic_of_the_pi_5(tmp_path: Path) -> None:
    rails_w = 0.1 * 3.3 + 2.0 * 0.9  # a rail with a voltage only does not count
    assert pmic_rails_w(PMIC) == pytest.approx(rails_w)
    (sensor,) = find_sensors(tmp_path, lambda command: PMIC)
    assert sensor.name == 'pmic'
    assert sensor.power_w() == pytest.approx(1.1451 * rails_w + 0.5879)
    assert find_sensors(tmp_path, lambda command: 'error=1 command not registered') == []
    with pytest.raises(ConfigurationError, match='no power'):
        pmic_rails_w('')


def test_a_sensor_that_goes_away_is_an_error(tmp_path: Path) -> None:
    base = 'sys/class/hwmon/hwmon3/'
    write(tmp_path, {f'{base}name': 'ina219', f'{base}power1_input': 1})
    (sensor,) = find_sensors(tmp_path, no_command)
    (tmp_path / base / 'power1_input').unlink()
    with pytest.raises(ConfigurationError, match='cannot be read'):
        sensor.power_w()


class Steps:
    """A sensor that reads one value per state, in the order in which they are measured."""

    name, scope = 'steps', 'made up'

    def __init__(self, *watts: float, samples: int) -> None:
        self._watts = [w for w in watts for _ in range(samples)]

    def power_w(self) -> float:
        return self._watts.pop(0)


def test_a_board_is_measured_in_three_states() -> None:
    samples = 1 + 5  # the first reading is about the time before
    sensor = Steps(2.0, 3.0, 3.8, samples=samples)
    slept: list[float] = []
    power = measure_board('mine', sensor, seconds=0.5, sleep=slept.append)
    assert (power.idle_w, power.compute_w) == (2.0, 3.0)
    assert power.core_w == pytest.approx(0.8)
    assert power.radio_tx_w > power.radio_rx_w > 2.0
    assert power.estimated == ('radio_tx_w', 'radio_rx_w')
    assert sum(slept) == pytest.approx(1.5)


def test_mean_power_reads_at_least_once() -> None:
    assert mean_power_w(Steps(9.0, 4.0, samples=1), 0.0, sleep=lambda s: None) == 4.0
