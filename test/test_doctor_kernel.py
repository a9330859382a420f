"""The doctor's checks of kernel and board, on made-up machines."""

from __future__ import annotations

import ctypes
from pathlib import Path

import pytest

from dnn_offload.doctor import board_checks, kernel_checks
from dnn_offload.doctor.finding import State
from dnn_offload.doctor.machine import Machine, Space
from dnn_offload.doctor.wall_clock import UNSYNCHRONISED_S
from made_up_machine import examination, MadeUpMachine

GIB = 1 << 30


def test_socket_buffers(tmp_path: Path) -> None:
    machine = MadeUpMachine(tmp_path)
    exam = examination(machine)
    assert kernel_checks.check_buffers(exam).state is State.SKIPPED
    machine.write('/proc/sys/net/core/rmem_max', '212992\n')
    machine.write('/proc/sys/net/core/wmem_max', '4194304\n')
    found = kernel_checks.check_buffers(exam)
    assert found.state is State.WARNING
    assert 'sysctl -w net.core.rmem_max=4194304' in found.cure and 'wmem' not in found.cure
    machine.write('/proc/sys/net/core/rmem_max', '8388608\n')
    assert kernel_checks.check_buffers(exam).state is State.OK


def test_fragments(tmp_path: Path) -> None:
    machine = MadeUpMachine(tmp_path)
    exam = examination(machine)
    machine.write('/proc/sys/net/ipv4/ipfrag_time', '30')
    machine.write('/proc/sys/net/ipv4/ipfrag_high_thresh', '262144')
    found = kernel_checks.check_fragments(exam)
    assert found.state is State.WARNING
    assert 'ipfrag_time=3 net.ipv4.ipfrag_high_thresh=4194304' in found.cure
    machine.environment['FASTRTPS_DEFAULT_PROFILES_FILE'] = '/share/config/fastdds_lossy.xml'
    assert kernel_checks.check_fragments(exam).state is State.OK
    del machine.environment['FASTRTPS_DEFAULT_PROFILES_FILE']
    machine.write('/proc/sys/net/ipv4/ipfrag_time', '3')
    machine.write('/proc/sys/net/ipv4/ipfrag_high_thresh', '4194304')
    assert kernel_checks.check_fragments(exam).state is State.OK


def segments(machine: MadeUpMachine, count: int, nbytes: int) -> list[str]:
    names = [f'fastrtps_{number:016x}' for number in range(count)]
    for name in names:
        machine.write(f'/dev/shm/{name}', 'x' * nbytes)
        machine.write(f'/dev/shm/{name}_el', '')
    machine.write('/dev/shm/sem.fastrtps_port7411_mutex', '')
    return names


def test_stale_shared_memory(tmp_path: Path) -> None:
    machine = MadeUpMachine(
        tmp_path, space=Space(GIB, GIB // 2), locks=['fastrtps_0000000000000000_el']
    )
    segments(machine, 9, 10 << 20)
    found = kernel_checks.check_shm(examination(machine))
    assert found.state is State.WARNING
    assert (found.facts['live'], found.facts['stale']) == (1, 8)
    assert found.facts['stale_bytes'] >= 8 * (10 << 20)
    assert 'rm -f /dev/shm/fastrtps_*' in found.cure
    machine.tools['fastdds shm'] = ''
    assert kernel_checks.check_shm(examination(machine)).cure == 'fastdds shm clean'


NOBODYS = 4_000_000_000  # a user number of no user


def test_segments_of_other_users(tmp_path: Path) -> None:
    """Nodes of two users see each other and get no data."""
    names = [f'fastrtps_{number:016x}' for number in range(4)]
    machine = MadeUpMachine(
        tmp_path, space=Space(GIB, GIB // 2), locks=[f'{name}_el' for name in names[:3]],
        owners={names[0]: 0, names[1]: NOBODYS, names[3]: 0},
    )
    segments(machine, 4, 1)
    found = kernel_checks.check_shm(examination(machine))
    assert found.state is State.WARNING and 'no data comes' in found.found
    # Not the one that is stale, nor that of this user.
    assert found.facts['others'] == {'root': 1, f"'#{NOBODYS}'": 1} and found.facts['live'] == 3
    assert 'User=' in found.cure and 'sudo -u root' in found.cure and 'with_ros.sh' in found.cure
    # One that may not even be opened is somebody's.
    machine.path(f'/dev/shm/{names[0]}_el').unlink()
    assert 'root' in kernel_checks.check_shm(examination(machine)).facts['others']


def test_segments_of_one_user_and_little_room(tmp_path: Path) -> None:
    name = 'fastrtps_0000000000000000'
    machine = MadeUpMachine(tmp_path, space=Space(GIB, GIB // 2), locks=[f'{name}_el'])
    segments(machine, 1, 1)
    assert kernel_checks.check_shm(examination(machine)).state is State.OK
    machine = MadeUpMachine(
        tmp_path, space=Space(GIB, 16 << 20), locks=[f'{name}_el'], owners={name: 0}
    )
    both = kernel_checks.check_shm(examination(machine))
    assert both.state is State.FAILURE
    assert '--shm-size' in both.cure and 'no data comes' in both.found


@pytest.mark.parametrize(
    ('free_mib', 'state'), [(400, State.OK), (64, State.WARNING), (16, State.FAILURE)]
)
def test_room_for_shared_memory(tmp_path: Path, free_mib: int, state: State) -> None:
    machine = MadeUpMachine(tmp_path, space=Space(GIB, free_mib << 20))
    found = kernel_checks.check_shm(examination(machine))
    assert found.state is state
    assert ('--shm-size' in found.cure) == (state is not State.OK)
    assert kernel_checks.check_shm(examination(MadeUpMachine(tmp_path))).state is State.FAILURE


def test_pressure_of_the_processor(tmp_path: Path) -> None:
    machine = MadeUpMachine(tmp_path)
    exam = examination(machine)
    off = kernel_checks.check_psi(exam)
    assert off.state is State.OK and 'psi=1' in off.cure
    for percent, state in (('3.10', State.OK), ('61.00', State.WARNING)):
        machine.write('/proc/pressure/cpu', f'some avg10={percent} avg60=0.00 total=1\n')
        found = kernel_checks.check_psi(exam)
        assert found.state is state and found.facts['psi'] == float(percent)


def wireless(tmp_path: Path, power_save: str, signal_dbm: int) -> MadeUpMachine:
    machine = MadeUpMachine(tmp_path, tools={
        'iw dev wlan0 get power_save': f'Power save: {power_save}\n',
        'iw dev wlan0 link': f'Connected\n\tsignal: {signal_dbm} dBm\n\ttx bitrate: 72.2 MBit/s\n',
    })
    machine.write('/sys/class/net/wlan0/operstate', 'up\n')
    machine.write('/sys/class/net/wlan0/wireless/.keep', '')
    machine.write('/sys/class/net/eth0/operstate', 'up\n')
    return machine


def test_wifi_power_save_and_signal(tmp_path: Path) -> None:
    found = board_checks.check_wifi(examination(wireless(tmp_path, 'on', -58)))
    assert found.state is State.WARNING
    assert 'iw dev wlan0 set power_save off' in found.cure
    assert found.facts['wlan0'] == {'power_save': 'on', 'signal_dbm': -58, 'tx_mbit_s': 72.2}
    assert board_checks.check_wifi(
        examination(wireless(tmp_path, 'off', -58))
    ).state is State.OK
    weak = board_checks.check_wifi(examination(wireless(tmp_path, 'off', -82)))
    assert weak.state is State.WARNING and 'closer' in weak.cure


def test_wifi_that_cannot_be_asked(tmp_path: Path) -> None:
    machine = wireless(tmp_path, 'on', -58)
    machine.tools.clear()
    found = board_checks.check_wifi(examination(machine))
    assert found.state is State.SKIPPED and 'apt install iw' in found.cure
    machine.write('/sys/class/net/wlan0/operstate', 'down\n')
    offline = board_checks.check_wifi(examination(machine))
    assert offline.state is State.SKIPPED and 'not connected' in offline.found
    assert 'nmcli device wifi connect' in offline.cure and 'with a cable' in offline.cure
    wired = MadeUpMachine(tmp_path / 'wired')
    assert 'no wireless' in board_checks.check_wifi(examination(wired)).found


def clock(tmp_path: Path, governor: str, driver: str, limit_khz: int) -> MadeUpMachine:
    machine = MadeUpMachine(tmp_path)
    for name, text in {
        'scaling_governor': governor, 'scaling_driver': driver,
        'scaling_max_freq': str(limit_khz), 'cpuinfo_max_freq': '1800000',
        'scaling_cur_freq': '600000',
    }.items():
        machine.write(f'/sys/devices/system/cpu/cpu0/cpufreq/{name}', f'{text}\n')
    return machine


@pytest.mark.parametrize(
    ('governor', 'driver', 'limit_khz', 'state', 'cure'),
    [
        ('ondemand', 'cpufreq-dt', 1_800_000, State.OK, ''),
        ('powersave', 'cpufreq-dt', 1_800_000, State.WARNING, 'scaling_governor'),
        ('powersave', 'intel_pstate', 1_800_000, State.OK, ''),
        ('ondemand', 'cpufreq-dt', 900_000, State.WARNING, '--max 1800000kHz'),
    ],
)
def test_governor_and_limit(
    tmp_path: Path, governor: str, driver: str, limit_khz: int, state: State, cure: str
) -> None:
    found = board_checks.check_clock(examination(clock(tmp_path, governor, driver, limit_khz)))
    assert found.state is state and cure in found.cure
    assert found.facts['clock_hz'] == 0.6e9 and found.facts['clock_max_hz'] == 1.8e9


@pytest.mark.parametrize(
    ('flags', 'state', 'found', 'cure'),
    [
        ('0', State.OK, 'neither throttled', ''),
        ('50005', State.WARNING, 'now: under-voltage, throttled', 'supply'),
        ('e0008', State.WARNING, 'now: soft temperature limit', 'fan'),
        ('20000', State.WARNING, 'since it was started: clock capped', 'fan'),
    ],
)
def test_throttling_of_a_raspberry_pi(
    tmp_path: Path, flags: str, state: State, found: str, cure: str
) -> None:
    machine = MadeUpMachine(tmp_path)
    machine.write('/sys/devices/platform/soc/soc:firmware/get_throttled', f'{flags}\n')
    machine.write('/sys/class/thermal/thermal_zone0/temp', '55000\n')
    made = board_checks.check_throttling(examination(machine))
    assert made.state is state
    assert found in made.found and '55 degree' in made.found and cure in made.cure
    assert made.facts['firmware_flags'] == int(flags, 16)


def test_heat_and_machines_that_tell_nothing(tmp_path: Path) -> None:
    silent = board_checks.check_throttling(examination(MadeUpMachine(tmp_path / 'silent')))
    assert silent.state is State.SKIPPED
    hot = MadeUpMachine(tmp_path)
    hot.write('/sys/class/thermal/thermal_zone0/temp', '86000\n')
    assert board_checks.check_throttling(examination(hot)).state is State.WARNING


@pytest.mark.parametrize(
    ('error_s', 'rtc', 'state', 'words'),
    [
        (0.02, False, State.OK, 'is synchronised'),
        (1.5, True, State.OK, 'is synchronised'),  # by timesyncd, half an hour after its last word
        (16.0, True, State.WARNING, 'is not synchronised: pictures'),
        (16.0, False, State.WARNING, 'and none runs while this machine is off'),
        (None, False, State.SKIPPED, 'not known'),
    ],
)
def test_the_wall_clock(
    tmp_path: Path, error_s: float | None, rtc: bool, state: State, words: str
) -> None:
    machine = MadeUpMachine(tmp_path, clock_error_s=error_s)
    if rtc:
        machine.write('/sys/class/rtc/rtc0/name', 'rtc-efi\n')
    found = kernel_checks.check_time(examination(machine))
    assert found.state is state and words in found.found
    assert ('chrony' in found.cure) == (state is not State.OK)
    if error_s is not None:
        assert found.facts == {
            'synchronised': state is State.OK, 'largest_error_s': error_s, 'rtc': rtc,
        }


def test_the_kernel_is_asked_and_nothing_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    error_s = Machine().clock_error_s()
    assert error_s is None or 0.0 <= error_s <= UNSYNCHRONISED_S
    monkeypatch.setattr(ctypes, 'CDLL', lambda name: object())  # another C library
    assert Machine().clock_error_s() is None
