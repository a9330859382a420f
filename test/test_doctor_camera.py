"""The doctor's check of the camera, on made-up machines and with real files."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from dnn_offload.doctor import camera_check
from dnn_offload.doctor.finding import Finding, State
from dnn_offload.doctor.machine import CHILDREN, Ended, Machine
from dnn_offload.nodes.camera_parameters import PARAMETERS
from dnn_offload.nodes.parameters import by_name
from made_up_machine import examination, MadeUpMachine, said
from test_deploy import check_launch

CAMERA = {
    'description': 'device 0', 'live': True, 'claimed_hz': 30.0, 'measured_hz': 29.6,
    'pictures': 60, 'width': 640, 'height': 480, 'unreadable': 0, 'first_unreadable': '',
}


def camera(tmp_path: Path, ended: Ended, source: str = '') -> Finding:
    machine = MadeUpMachine(tmp_path, {'try_camera': ended})
    machine.write('/dev/video0', '')
    return camera_check.check_camera(examination(machine, camera=source))


def tried(source: Path) -> Ended:
    """What the program of the check really says."""
    here = {**os.environ, 'PYTHONPATH': str(CHILDREN.parents[2])}
    return Machine(environment=here).child(
        'try_camera', str(source), '--seconds', '0.3', limit_s=60.0
    )


def test_cameras(tmp_path: Path) -> None:
    good = camera(tmp_path, said(CAMERA))
    assert good.state is State.OK and '29.6 pictures/s of 30' in good.found
    dark = camera(tmp_path, said({**CAMERA, 'measured_hz': 14.9}))
    assert dark.state is State.WARNING and 'light' in dark.cure
    # The doctor cannot confirm a mode that it does not ask for; camera_node can.
    assert 'source_mode of camera_node in /diagnostics' in dark.cure
    assert not good.cure
    blind = camera(tmp_path, said({**CAMERA, 'pictures': 0}))
    assert blind.state is State.FAILURE and 'no picture' in blind.found
    closed = camera(tmp_path, Ended(1, errors='cannot open device 0; is it plugged in?'))
    assert closed.state is State.FAILURE and 'group "video"' in closed.cure
    video = camera(tmp_path, said({**CAMERA, 'live': False, 'measured_hz': 400.0}), 'drive.mp4')
    assert video.state is State.OK and '400 pictures/s can be read, made for 30' in video.found


@pytest.mark.parametrize('made', ['missing', 'empty folder', 'broken picture', 'no video'])
def test_a_file_or_folder_that_gives_nothing_has_a_cure_of_its_own(
    tmp_path: Path, made: str
) -> None:
    path = tmp_path / 'pictures.jpg'
    if made == 'empty folder':
        path.mkdir()
    elif made != 'missing':
        path.write_bytes(b'xx' if made == 'broken picture' else b'hello ' * 100)
    found = camera(tmp_path, tried(path), str(path))
    assert found.state is State.FAILURE and str(path) in found.found
    assert 'folder with pictures' in found.cure and 'video"' not in found.cure
    stream = camera(tmp_path, Ended(1, errors='cannot open'), 'rtsp://robot/1')
    assert 'sender' in stream.cure
    secret = 'rtsp://me:p@ss@robot/1'
    shut = camera(tmp_path, Ended(1, errors=f'cannot open {secret}'), secret)
    assert 'ss@' not in f'{shut.found} {shut.facts}' and 'rtsp://robot/1' in shut.found


def test_broken_pictures_in_a_folder_are_counted(tmp_path: Path) -> None:
    folder = tmp_path / 'pictures'
    folder.mkdir()
    (folder / '0.jpg').write_bytes(b'xx')
    none = camera(tmp_path, tried(folder), str(folder))
    assert none.state is State.FAILURE and 'none of 1 pictures can be read' in none.found
    for number in (1, 2):
        cv2.imwrite(str(folder / f'{number}.jpg'), np.zeros((48, 64, 3), np.uint8))
    some = camera(tmp_path, tried(folder), str(folder))
    assert some.state is State.WARNING
    assert '64x48, 1 of 3 pictures cannot be read' in some.found and '0.jpg' in some.found


def test_cameras_that_are_not_looked_at(tmp_path: Path) -> None:
    found = camera_check.check_camera(examination(MadeUpMachine(tmp_path / 'server')))
    assert found.state is State.SKIPPED and '--camera' in found.cure
    board = MadeUpMachine(tmp_path / 'pi', {'try_camera': said(CAMERA)})
    for number, name in ((10, 'bcm2835-codec-decode'), (19, 'rpi-hevc-dec'), (0, 'unicam')):
        board.write(f'/dev/video{number}', '')
        board.write(f'/sys/class/video4linux/video{number}/name', f'{name}\n')
    bare = camera_check.check_camera(examination(board))
    assert bare.state is State.SKIPPED and 'camera_ros' in bare.cure and 'video10' in bare.found
    board.write('/dev/video20', '')
    board.write('/sys/class/video4linux/video20/name', 'HD Webcam C525\n')
    plugged = camera_check.check_camera(examination(board))
    assert plugged.state is State.OK and plugged.facts['source'] == '20'
    assert plugged.cure.endswith('robot.launch.py source:=/dev/video20')
    named = camera_check.check_camera(examination(board, camera='20'))
    assert named.state is State.OK and not named.cure
    board.write('/dev/video4', '')
    board.children['try_camera'] = said({**CAMERA, 'measured_hz': 9.0})
    slow = camera_check.check_camera(examination(board))
    assert slow.facts['source'] == '4' and 'light' in slow.cure
    assert slow.cure.endswith('; ' + plugged.cure.replace('video20', 'video4'))
    pip = camera(tmp_path, Ended(127, missing=True))
    assert pip.state is State.SKIPPED and 'ros2 run' in pip.cure


def test_what_camera_node_is_told_of_a_device_is_what_it_takes(tmp_path: Path) -> None:
    machine = MadeUpMachine(tmp_path, {'try_camera': said(CAMERA)})
    machine.write('/dev/video2', '')
    cure = camera_check.check_camera(examination(machine)).cure
    check_launch(cure.rpartition(': ')[2].split())
    source = by_name(PARAMETERS)['source']
    assert f'video{source.default}' == camera_check.NODE_OPENS
    source.convert(cure.rpartition(':=')[2])


@pytest.mark.parametrize(
    'source',
    ['', '0', 'device:0', '/dev/video0', 'device:/dev/video0', '/dev/v4l/by-id/usb-cam-index0',
     'device:/dev/v4l/by-id/usb-cam-index0', '/dev/front'],
)
def test_a_camera_in_use_is_left_alone_by_whatever_name(tmp_path: Path, source: str) -> None:
    machine = MadeUpMachine(tmp_path / 'robot', {'try_camera': said(CAMERA)})
    for device in ('video0', 'video2'):
        machine.write(f'/dev/{device}', '')
    machine.write('/proc/77/comm', 'camera_node')
    machine.path('/proc/77/fd').mkdir()
    os.symlink('/dev/video0', machine.path('/proc/77/fd/9'))
    machine.path('/dev/v4l/by-id').mkdir(parents=True)
    for number in (0, 2):  # as udev makes them
        link = machine.path(f'/dev/v4l/by-id/usb-cam-index{number}')
        os.symlink(f'../../video{number}', link)
    os.symlink('/dev/video0', machine.path('/dev/front'))
    used = camera_check.check_camera(examination(machine, camera=source))
    assert used.state is State.SKIPPED
    assert used.found == f'camera {source or 0} is in use by camera_node (77)'
    free = camera_check.check_camera(examination(machine, camera='/dev/v4l/by-id/usb-cam-index2'))
    assert free.state is State.OK
