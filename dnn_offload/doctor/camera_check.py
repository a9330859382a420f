"""Whether the camera opens, and how many pictures it really delivers."""

from __future__ import annotations

from dataclasses import replace
import os
import re

from dnn_offload.doctor.examination import Examination, NOT_BY_PIP
from dnn_offload.doctor.finding import failure, Finding, fine, skipped, State, warning
from dnn_offload.errors import without_password

READ_S = 2.0
LIMIT_S = 25.0
SLOW = 0.7  # of the rate that the camera claims
NODE_OPENS = 'video0'  # by default
# Names of a Raspberry Pi's video devices that no picture can be read from as from a USB camera.
CHIP_PARTS = ('bcm2835-', 'rpivid', 'rpi-hevc', 'rpi-', 'pispbe', 'unicam', 'rp1-cfe')
_NO_PICTURES = (
    'name a video, or a folder with pictures in it, that is there and that a viewer opens: '
    '--camera PATH'
)


def check_camera(exam: Examination) -> Finding:
    """Open the picture source as ``camera_node`` does by default, and read for two seconds."""
    source = exam.settings.camera
    devices = sorted(
        (name for name in exam.machine.names('/dev') if re.fullmatch(r'video\d+', name)),
        key=lambda name: int(name.removeprefix('video')),
    )
    if not source and not devices:
        return skipped(
            'there is no camera at this machine (no /dev/video*)',
            'on a robot: plug it in; a CSI camera needs camera_ros; for a file, a folder or a '
            'stream: --camera SOURCE',
        )
    cameras = [name for name in devices if not _is_part_of_the_chip(exam, name)]
    if not source and not cameras:
        return skipped(
            f'there is no USB camera at this machine: {", ".join(devices)} are parts of its chip '
            '(decoder, image processor, receiver of a CSI camera)',
            'a CSI camera needs camera_ros, and image:=/camera/image_raw of robot.launch.py; for '
            'anything else: --camera SOURCE',
        )
    chosen = '' if source else cameras[0]
    source = source or chosen.removeprefix('video')
    user = _user_of(exam, source)
    if user:
        return skipped(
            f'camera {source} is in use by {user}',
            'see its rate by "ros2 topic hz" on its image_raw, or end it and ask again',
        ).knowing(source=source, in_use_by=user)
    ended = exam.machine.child(
        'try_camera', source, '--seconds', str(READ_S),
        limit_s=READ_S + exam.settings.limit_s(LIMIT_S),
    )
    answer = ended.answer
    if ended.missing or (answer is None and 'No module named' in ended.errors):
        return skipped(
            'this install has no camera_node (pip leaves it out)',
            NOT_BY_PIP,
        )
    told = without_password(source)
    if answer is None:
        why = ended.why.replace(source, told)
        return failure(f'{told}: {why}', _cure(source)).knowing(source=told)
    return _for_the_node(_judged(answer), chosen).knowing(source=told, **answer)


def _for_the_node(made: Finding, chosen: str) -> Finding:
    """With how ``camera_node`` is told of a device that the doctor has chosen itself."""
    if chosen in ('', NODE_OPENS) or made.state is State.FAILURE:
        return made
    hint = (
        f'camera_node opens {NODE_OPENS} unless it is told: ros2 launch dnn_offload '
        f'robot.launch.py source:=/dev/{chosen}'
    )
    return replace(made, cure='; '.join(filter(None, (made.cure, hint))))


def _is_part_of_the_chip(exam: Examination, device: str) -> bool:
    """Whether a video device of a Raspberry Pi takes or gives no pictures by itself."""
    name = exam.machine.read(f'/sys/class/video4linux/{device}/name') or ''
    return name.startswith(CHIP_PARTS)


def _is_device(source: str) -> bool:
    return source.isdigit() or source.startswith(('/dev/', 'device:'))


def _cure(source: str) -> str:
    """What to do where a source cannot be opened."""
    if _is_device(source):
        return (
            'plug it in, add yourself to the group "video" (sudo usermod -aG video $USER, then '
            'log in again), and name it by --camera'
        )
    if '://' in source and not source.startswith('file://'):
        return 'start its sender, see that this machine reaches it, and name it by --camera'
    return _NO_PICTURES


def _judged(answer: dict[str, object]) -> Finding:
    width, height = answer['width'], answer['height']
    claimed_hz, measured_hz = float(str(answer['claimed_hz'])), float(str(answer['measured_hz']))
    found = f'{answer["description"]}, {width}x{height}, '
    bad = int(str(answer['unreadable']))
    if not answer['pictures'] and bad:
        return failure(
            f'{answer["description"]}: none of {bad} pictures can be read '
            f'({answer["first_unreadable"]})',
            'look at them in a viewer; copy or record them again',
        )
    if not answer['pictures']:
        return failure(
            f'{answer["description"]} opens, but gives no picture',
            'try another --camera: many cameras have several devices, and one gives pictures'
            if answer['live'] else _NO_PICTURES,
        )
    if bad:
        return warning(
            f'{found}{bad} of {bad + int(str(answer["pictures"]))} pictures cannot be read '
            f'({answer["first_unreadable"]})',
            'copy or record them again, or take them away: camera_node leaves them out',
        )
    if not answer['live']:
        wanted = f', made for {claimed_hz:.0f}' if claimed_hz else ''
        return fine(f'{found}{measured_hz:.0f} pictures/s can be read{wanted}')
    found += f'{measured_hz:.1f} pictures/s' + (f' of {claimed_hz:.0f}' if claimed_hz else '')
    if claimed_hz and measured_hz < SLOW * claimed_hz:
        return warning(
            found,
            'more light (dark pictures are exposed longer), or pixel_format MJPG or a smaller '
            'width and height of camera_node; the doctor does not ask for these: what they bring '
            'is in source_mode of camera_node in /diagnostics, and "ros2 topic hz" tells the rate',
        )
    return fine(found)


def _user_of(exam: Examination, source: str) -> str:
    """Name and number of a process that has the device open, as far as we may see; or ''."""
    if not _is_device(source):
        return ''
    name = source.removeprefix('device:')
    # A process has open what a name like /dev/v4l/by-id/... leads to.
    device = exam.machine.real(f'/dev/video{name}' if name.isdigit() else name)
    for pid in exam.machine.names('/proc'):
        if not pid.isdigit():
            continue
        for descriptor in exam.machine.names(f'/proc/{pid}/fd'):
            try:
                opened = os.readlink(exam.machine.path(f'/proc/{pid}/fd/{descriptor}'))
            except OSError:
                continue
            if opened == device:
                return f'{exam.machine.read(f"/proc/{pid}/comm") or "a process"} ({pid})'
    return ''
