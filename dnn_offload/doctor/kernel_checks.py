"""Settings of the kernel that large messages, load signals and stamps depend on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
import pwd
import re
import time
from typing import NamedTuple

from dnn_offload.doctor.examination import Examination
from dnn_offload.doctor.finding import failure, Finding, fine, skipped, together, warning
from dnn_offload.doctor.machine import Space
from dnn_offload.doctor.wall_clock import UNSYNCHRONISED_S

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


class Segments(NamedTuple):
    """Segments of Fast DDS in shared memory.

    Attributes:
        live: In use, as far as this user may see that.
        stale: Nobody uses them any more.
        stale_bytes: What those take [byte].
        others: User to segments of theirs in use, of users other than this one. Those that may
            not even be looked at count.
    """

    live: int
    stale: int
    stale_bytes: int
    others: Mapping[str, int]


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
    found = segments(exam)
    room = _room(exam, space, found).knowing(
        total_bytes=space.total_bytes, free_bytes=space.free_bytes, live=found.live,
        stale=found.stale, stale_bytes=found.stale_bytes, others=dict(found.others),
    )
    return together([room, _other_users(found.others)]) if found.others else room


def _room(exam: Examination, space: Space, found: Segments) -> Finding:
    stale_mb = found.stale_bytes / _MB
    words = (
        f'{space.free_bytes / _MB:.0f} of {space.total_bytes / _MB:.0f} MB free, {found.live} '
        f'Fast DDS segments in use, {found.stale} stale'
        + (f' ({stale_mb:.0f} MB, left by processes that were killed)' if found.stale else '')
    )
    clean = (
        'fastdds shm clean' if exam.machine.which('fastdds')
        else 'end all ROS nodes here, then rm -f /dev/shm/fastrtps_* /dev/shm/sem.fastrtps_*'
    )
    larger = 'start the container with --shm-size 512m or --ipc host'
    if space.free_bytes < SHM_WANTED_BYTES:
        made = failure if space.free_bytes < SHM_NEEDED_BYTES else warning
        return made(
            f'{words}: each node wants a segment of 16 MiB', clean if found.stale else larger
        )
    return warning(words, clean) if found.stale_bytes > STALE_BYTES else fine(words)


def _other_users(others: Mapping[str, int]) -> Finding:
    counts = ', '.join(f'{count} of {name}' for name, count in others.items())
    name = next(iter(others))
    return warning(
        f'segments of other users are in use ({counts}): their nodes and those of this user see '
        'each other, and no data comes',
        'run all ROS nodes of this machine as one user: give the service User= in a drop-in, or '
        f'run what you start by hand as its user: sudo -u {name} '
        'CHECKOUT/deploy/with_ros.sh dnn-offload top (docs/deployment.md)',
    )


def segments(exam: Examination) -> Segments:
    """What is in shared memory of Fast DDS; who uses a segment has its ``_el`` locked."""
    stale = stale_bytes = live = 0
    others: Counter[str] = Counter()
    for name in exam.machine.names(SHM):
        if not _SEGMENT.fullmatch(name):
            continue
        path = exam.machine.path(f'{SHM}/{name}')
        locked = exam.machine.locked(path.with_name(f'{name}_el'))
        live += locked is True
        if locked is not False:
            owner = exam.machine.owner(path)
            if owner not in (None, exam.machine.user()):
                others[_user_name(owner)] += 1
            continue
        stale += 1
        try:
            stale_bytes += 512 * path.stat().st_blocks
        except OSError:
            continue  # gone meanwhile
    return Segments(live, stale, stale_bytes, others)


def _user_name(number: int) -> str:
    """As sudo takes it; those of a container have no name outside."""
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"'#{number}'"


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


def check_time(exam: Examination) -> Finding:
    """Whether somebody keeps the wall clock right."""
    error_s = exam.machine.clock_error_s()
    if error_s is None:
        return skipped(
            'not known: the kernel does not tell whether its clock is kept right, as in some '
            'containers',
            'ask on the host: timedatectl, or chronyc tracking',
        )
    keeps = bool(exam.machine.names('/sys/class/rtc'))
    facts = {'synchronised': error_s < UNSYNCHRONISED_S, 'largest_error_s': error_s, 'rtc': keeps}
    if error_s < UNSYNCHRONISED_S:
        return fine('the wall clock is synchronised').knowing(**facts)
    now = time.strftime('%Y-%m-%d %H:%M:%S UTC', time.gmtime())
    return warning(
        f'the wall clock ({now}) is not synchronised'
        + ('' if keeps else ', and none runs while this machine is off')
        + ': pictures stamped on another machine look old, or of the future',
        'sudo apt install chrony on all machines; without a way to the Internet let one of them '
        'serve the others (local stratum 10 and allow in its /etc/chrony/chrony.conf, server NAME '
        'iburst in theirs)',
    ).knowing(**facts)
