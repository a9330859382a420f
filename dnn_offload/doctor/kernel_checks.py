"""Settings of the kernel that large messages and load signals depend on."""

from __future__ import annotations

import re

from dnn_offload.doctor.examination import Examination
from dnn_offload.doctor.finding import failure, Finding, fine, skipped, warning

BUFFER_BYTES = 4 << 20     # what config/fastdds.xml asks for
FRAGMENT_S = 3
FRAGMENT_BYTES = 4 << 20
LOSSY_PROFILE = 'fastdds_lossy.xml'
BUSY_PERCENT = 25.0
# What five nodes of a robot map: a segment of 16 MiB each, and their ports.
SHM_WANTED_BYTES = 128 << 20
SHM_NEEDED_BYTES = 32 << 20
STALE_BYTES = 64 << 20
SHM = '/dev/shm'
_SEGMENT = re.compile(r'fastrtps_[0-9a-f]{16}')
_MB = 1e6


def _set_lasting(settings: str) -> str:
    """The command that sets something now, and where it stays."""
    return f'sudo sysctl -w {settings} (to keep it: the same in /etc/sysctl.d/60-dnn-offload.conf)'


def check_buffers(exam: Examination) -> Finding:
    """Largest socket buffers that the kernel grants."""
    names = ('rmem_max', 'wmem_max')
    values = {name: exam.machine.number(f'/proc/sys/net/core/{name}') for name in names}
    if None in values.values():
        return skipped(
            'net.core.rmem_max cannot be seen here, as in a container with a network of its own',
            'look at it on the host: sysctl net.core.rmem_max net.core.wmem_max',
        )
    found = ', '.join(f'net.core.{name} {value}' for name, value in values.items())
    low = [name for name, value in values.items() if value is not None and value < BUFFER_BYTES]
    made = fine(found) if not low else warning(
        f'{found}: bursts of large messages are dropped, or make the sender wait',
        _set_lasting(' '.join(f'net.core.{name}={BUFFER_BYTES}' for name in low)),
    )
    return made.knowing(**values)


def check_fragments(exam: Examination) -> Finding:
    """How long the kernel keeps what is left of datagrams that lost a fragment, and how much."""
    time_s = exam.machine.number('/proc/sys/net/ipv4/ipfrag_time')
    high_bytes = exam.machine.number('/proc/sys/net/ipv4/ipfrag_high_thresh')
    if time_s is None or high_bytes is None:
        return skipped(
            'net.ipv4.ipfrag_* cannot be seen here, as in a container with a network of its own',
            'look at it on the host: sysctl net.ipv4.ipfrag_time net.ipv4.ipfrag_high_thresh',
        )
    found = f'net.ipv4.ipfrag_time {time_s} s, ipfrag_high_thresh {high_bytes}'
    profile = exam.machine.environment.get('FASTRTPS_DEFAULT_PROFILES_FILE', '')
    if profile.endswith(LOSSY_PROFILE):
        made = fine(f'{found}; not used: messages of {LOSSY_PROFILE} are one packet each')
    elif time_s > FRAGMENT_S or high_bytes < FRAGMENT_BYTES:
        wanted = [f'net.ipv4.ipfrag_time={FRAGMENT_S}'] if time_s > FRAGMENT_S else []
        if high_bytes < FRAGMENT_BYTES:
            wanted.append(f'net.ipv4.ipfrag_high_thresh={FRAGMENT_BYTES}')
        made = warning(
            f'{found}: over Wi-Fi, what is left of broken messages fills that and blocks all '
            'large ones',
            _set_lasting(' '.join(wanted)),
        )
    else:
        made = fine(found)
    return made.knowing(ipfrag_time_s=time_s, ipfrag_high_thresh_bytes=high_bytes)


def check_shm(exam: Examination) -> Finding:
    """Room for shared memory, and segments that killed processes have left in it."""
    space = exam.machine.space(SHM)
    if space is None:
        return failure(
            f'there is no {SHM}: messages inside this machine go through the network stack',
            'mount it: sudo mount -t tmpfs tmpfs /dev/shm (a container: --ipc host)',
        )
    stale, stale_bytes, live = _segments(exam)
    facts = {
        'total_bytes': space.total_bytes, 'free_bytes': space.free_bytes, 'live': live,
        'stale': stale, 'stale_bytes': stale_bytes,
    }
    found = (
        f'{space.free_bytes / _MB:.0f} of {space.total_bytes / _MB:.0f} MB free, {live} Fast DDS '
        f'segments in use, {stale} stale'
        + (f' ({stale_bytes / _MB:.0f} MB, left by processes that were killed)' if stale else '')
    )
    clean = (
        'fastdds shm clean' if exam.machine.which('fastdds')
        else 'end all ROS nodes here, then rm -f /dev/shm/fastrtps_* /dev/shm/sem.fastrtps_*'
    )
    larger = 'start the container with --shm-size 512m or --ipc host'
    if space.free_bytes < SHM_WANTED_BYTES:
        made = failure if space.free_bytes < SHM_NEEDED_BYTES else warning
        return made(
            f'{found}: each node wants a segment of 16 MiB', clean if stale else larger
        ).knowing(**facts)
    if stale_bytes > STALE_BYTES:
        return warning(found, clean).knowing(**facts)
    return fine(found).knowing(**facts)


def _segments(exam: Examination) -> tuple[int, int, int]:
    """Stale segments, their bytes, segments in use. The owner of a live one locks its ``_el``."""
    stale = stale_bytes = live = 0
    for name in exam.machine.names(SHM):
        if not _SEGMENT.fullmatch(name):
            continue
        path = exam.machine.path(f'{SHM}/{name}')
        locked = exam.machine.locked(path.with_name(f'{name}_el'))
        live += locked is True
        if locked is not False:
            continue
        stale += 1
        try:
            stale_bytes += 512 * path.stat().st_blocks
        except OSError:
            continue  # gone meanwhile
    return stale, stale_bytes, live


def check_psi(exam: Examination) -> Finding:
    """Pressure stall information: whether the kernel has it, and how busy the machine is."""
    text = exam.machine.read('/proc/pressure/cpu')
    match = re.search(r'^some avg10=([0-9.]+)', text or '', re.MULTILINE)
    if match is None:
        return fine(
            'the kernel has it switched off: load_source psi cannot be used, all others can',
            'to have it, add psi=1 to the kernel command line (Raspberry Pi: '
            '/boot/firmware/cmdline.txt) and start again',
        ).knowing(psi=None)
    percent = float(match[1])
    found = f'processes waited for a CPU in {percent:.0f} % of the last 10 s'
    if percent > BUSY_PERCENT:
        return warning(
            f'{found}: times measured now are those of a busy machine',
            'end what runs beside the robot and ask again, or take them for what they are',
        ).knowing(psi=percent)
    return fine(found).knowing(psi=percent)


