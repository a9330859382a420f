"""The board: its Wi-Fi, its clock, its supply and heat."""

from __future__ import annotations

import math
import re
import time

from dnn_offload.cost.machine_facts import MachineReader, read_firmware_flags, THROTTLED_NOW
from dnn_offload.doctor.examination import Examination
from dnn_offload.doctor.finding import Finding, fine, left_out, skipped, together, warning

WEAK_DBM = -75
HOT_C = 80.0
CAPPED = 0.95            # of the highest clock; below it a limit is set
COUNT_S = 0.5            # between two readings of counters of throttling
# These drivers' powersave follows the load; everybody else's is the lowest clock.
CLEVER_DRIVERS = ('intel_pstate', 'amd-pstate-epp', 'amd_pstate_epp')
FLAGS = {
    0: 'under-voltage', 1: 'clock capped', 2: 'throttled', 3: 'soft temperature limit',
}
SINCE_BOOT = 16


def check_wifi(exam: Examination) -> Finding:
    """Power save and signal of every wireless interface that is up."""
    machine = exam.machine
    names = [
        name for name in machine.names('/sys/class/net')
        if machine.exists(f'/sys/class/net/{name}/wireless')
        or machine.exists(f'/sys/class/net/{name}/phy80211')
    ]
    if not names:
        return left_out('this machine has no wireless interface')
    up = [name for name in names if machine.read(f'/sys/class/net/{name}/operstate') == 'up']
    if not up:
        return skipped(
            f'{", ".join(names)}: not connected',
            'join a network where the link is to be Wi-Fi: nmcli device wifi connect NAME --ask, '
            'or networks in /etc/netplan; with a cable there is nothing to do',
        )
    iw = machine.which('iw')
    if iw is None:
        return skipped(
            f'{", ".join(up)}: the tool iw, which tells of power save, is not installed',
            'sudo apt install iw, then ask again',
        )
    return together([_wireless(exam, iw, name) for name in up])


def _wireless(exam: Examination, iw: str, name: str) -> Finding:
    saving = exam.machine.run([iw, 'dev', name, 'get', 'power_save'])
    link = exam.machine.run([iw, 'dev', name, 'link']).output
    power = re.search(r'Power save:\s*(\w+)', saving.output)
    signal = re.search(r'signal:\s*(-?\d+)', link)
    rate = re.search(r'tx bitrate:\s*([0-9.]+)', link)
    facts = {
        'power_save': power[1] if power else None,
        'signal_dbm': int(signal[1]) if signal else None,
        'tx_mbit_s': float(rate[1]) if rate else None,
    }
    found = f'{name}: power save {power[1] if power else "unknown"}'
    found += f', signal {signal[1]} dBm' if signal else ''
    found += f', sends at {rate[1]} Mbit/s' if rate else ''
    findings = [fine(found).knowing(**{name: facts})]
    if power is not None and power[1] == 'on':
        findings = [warning(
            f'{found}: what comes waits in the access point, up to 100 ms and more',
            f'sudo iw dev {name} set power_save off (to keep it: wifi.powersave = 2 in a file '
            'in /etc/NetworkManager/conf.d)',
        ).knowing(**{name: facts})]
    if signal is not None and int(signal[1]) < WEAK_DBM:
        findings.append(warning(
            'the signal is weak', 'move robot or access point closer, or use the 2.4 GHz band'
        ))
    return together(findings)


def check_clock(exam: Examination) -> Finding:
    """Governor and limits of the processor's clock."""
    machine = exam.machine
    folder = '/sys/devices/system/cpu'
    policies = [
        f'{folder}/{name}/cpufreq' for name in machine.names(folder)
        if re.fullmatch(r'cpu\d+', name) and machine.exists(f'{folder}/{name}/cpufreq')
    ]
    if not policies:
        return left_out('this machine does not tell its clock, as virtual machines do not')
    facts = MachineReader(str(machine.path('/sys')), vcgencmd='').read()
    governors = {machine.read(f'{one}/scaling_governor') or '?' for one in policies}
    drivers = {machine.read(f'{one}/scaling_driver') or '?' for one in policies}
    limits = [machine.number(f'{one}/scaling_max_freq') for one in policies]
    tops = [machine.number(f'{one}/cpuinfo_max_freq') for one in policies]
    known = not math.isnan(facts.clock_hz) and not math.isnan(facts.clock_max_hz)
    found = f'governor {", ".join(sorted(governors))}' + (
        f', {facts.clock_hz / 1e9:.2f} of {facts.clock_max_hz / 1e9:.2f} GHz now' if known else ''
    )
    capped = [
        limit for limit, top in zip(limits, tops, strict=True)
        if limit is not None and top is not None and limit < CAPPED * top
    ]
    made = fine(found)
    if 'powersave' in governors and not drivers & set(CLEVER_DRIVERS):
        made = warning(
            f'{found}: the lowest clock, always',
            "echo schedutil | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor "
            '(or performance)',
        )
    elif capped:
        made = warning(
            f'{found}: limited to {min(capped) / 1e6:.2f} GHz',
            'take the limit away: sudo cpupower frequency-set --max '
            f'{max(top for top in tops if top is not None)}kHz',
        )
    return made.knowing(
        governors=sorted(governors), drivers=sorted(drivers),
        clock_hz=facts.clock_hz if known else None,
        clock_max_hz=facts.clock_max_hz if known else None,
    )


def check_throttling(exam: Examination) -> Finding:
    """Whether heat or a weak supply slow the processor down, now or since it was started."""
    sys_root = exam.machine.path('/sys')
    vcgencmd = exam.machine.which('vcgencmd')
    flags = read_firmware_flags(sys_root, vcgencmd)
    reader = MachineReader(str(sys_root), vcgencmd='')
    if flags is None:
        time.sleep(COUNT_S)
    facts = reader.read()
    temperature_c = None if math.isnan(facts.temperature_c) else facts.temperature_c
    findings = [] if temperature_c is None else [
        warning(
            f'{temperature_c:.0f} degree Celsius',
            'give it a fan or a heat sink: boards slow down from 80 to 85 degrees on',
        ) if temperature_c >= HOT_C else fine(f'{temperature_c:.0f} degree Celsius')
    ]
    if flags is not None:
        findings.append(_firmware(flags))
    elif facts.throttled is not None:
        findings.append(
            warning('slowed down for its heat now', 'give it more cooling, or less to do')
            if facts.throttled else fine('not slowed down')
        )
    if not findings:
        return left_out('this machine tells neither temperature nor throttling')
    return together(findings).knowing(
        temperature_c=temperature_c, throttled=facts.throttled if flags is None
        else bool(flags & THROTTLED_NOW), firmware_flags=flags,
    )


def _firmware(flags: int) -> Finding:
    now = [word for bit, word in FLAGS.items() if flags >> bit & 1]
    before = [word for bit, word in FLAGS.items() if flags >> bit + SINCE_BOOT & 1]
    if not now and not before:
        return fine('neither throttled nor short of voltage since it was started')
    found = f'now: {", ".join(now)}' if now else f'since it was started: {", ".join(before)}'
    supply = 'under-voltage' in now + before
    return warning(
        found,
        'use the supply made for this board (Raspberry Pi 4: 5.1 V 3 A, 5: 5 A) and a short cable'
        if supply else 'give it a fan or a heat sink',
    )
