"""Real publishers of every encoding, with damage, stalls and stamps that cannot be true."""

from __future__ import annotations

from collections.abc import Iterator
import time

from builtin_interfaces.msg import Time
from camera_robot import raw, Robot
from harness import running_graph, wait_for
import pytest
from sensor_msgs.msg import Image

from dnn_offload.transport.conversion import byte_array
from dnn_offload.vision.encodings import ENCODINGS


@pytest.fixture(scope='module')
def robot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Robot]:
    with running_graph() as graph:
        made = Robot(graph, tmp_path_factory.mktemp('robot') / 'log')
        with made.process:
            assert made.shows(lambda: raw('rgb8'), 60.0), made.log
            yield made


@pytest.mark.parametrize('encoding', ENCODINGS)
def test_every_encoding_gets_results(robot: Robot, encoding: str) -> None:
    assert robot.shows(lambda: raw(encoding, padding=4)), robot.log[-2000:]


def test_what_cannot_be_read_is_counted_and_stops_nothing(robot: Robot) -> None:
    lines = len(robot.log.splitlines())
    short, long_row, depth, big = raw('rgb8'), raw('rgb8'), raw('32FC1'), raw('mono16')
    short.data = byte_array(b'short')
    long_row.step = 100
    big.is_bigendian, big.data = 1, byte_array(b'')
    began_s, refused = time.monotonic(), 0
    while time.monotonic() - began_s < 4.0 or refused < 20:
        for message in (short, long_row, depth, big, Image()):
            assert robot.refuses(message), robot.log[-2000:]
            refused += 1
    assert robot.says('picture'), robot.status()
    assert wait_for(lambda: int(robot.value('camera_refused')) >= refused, 3.0), robot.status()
    told = [line for line in robot.log.splitlines()[lines:] if 'WARN' in line]
    assert len(told) <= 5 * (time.monotonic() - began_s + 2.0), 'each picture was logged'
    assert any('given: 32FC1' in line and 'allowed: rgb8, bgr8' in line for line in told)
    assert robot.shows(lambda: raw('rgb8'))


def test_pictures_that_never_come_are_counted_apart(robot: Robot) -> None:
    assert robot.shows(lambda: raw('rgb8'))
    time.sleep(2.2)  # two looks at who publishes
    assert robot.shows(lambda: raw('rgb8'))
    before, sent = robot.reports[-1], robot.sent
    for _ in range(300):  # faster than they can be taken
        robot.send(raw('rgb8'))
    time.sleep(2.2)
    assert robot.shows(lambda: raw('rgb8'))  # the last one lost is known by one that comes

    def unaccounted() -> int:
        last = robot.reports[-1]
        lost = last.lost_pictures - before.lost_pictures
        return robot.sent - sent - (last.entered - before.entered) - lost

    def accounted_for() -> bool:
        robot.send(raw('rgb8'))
        return wait_for(lambda: unaccounted() == 0, 1.5)

    assert wait_for(accounted_for, 10.0), unaccounted()
    lost = robot.reports[-1].lost_pictures
    assert lost > before.lost_pictures, 'nothing was lost: the test shows nothing'
    assert wait_for(lambda: robot.value('camera_lost') == str(lost), 3.0), robot.status()


def test_another_size_in_mid_stream(robot: Robot) -> None:
    for height, width in ((48, 64), (64, 48), (480, 640), (33, 201), (48, 64)):
        assert robot.shows(lambda h=height, w=width: raw('bgr8', h, w)), robot.log[-2000:]
    assert 'pictures have changed from 64x48 bgr8 to 48x64 bgr8' in robot.log
    assert wait_for(lambda: robot.value('camera_picture') == '64x48 bgr8', 3.0)


@pytest.mark.parametrize(('stamp', 'said'), [
    (Time(), 'have no stamp'),
    (Time(sec=1_000_000_000, nanosec=5), 'in the past'),
    (Time(sec=2_147_000_000), 'in the future'),
], ids=['zero', 'other clock, frozen', 'future'])
def test_stamps_that_cannot_be_true(robot: Robot, stamp: Time, said: str) -> None:
    """Results go on, under the picture's own header, with ages from the time of arrival."""
    heard = len(robot.results)

    def ten() -> bool:
        robot.send(raw('rgb8'), stamp)
        return wait_for(lambda: len(robot.results) >= heard + 10, 0.1)

    assert wait_for(ten, 20.0), robot.log[-2000:]
    assert all(result.header.stamp == stamp for result in robot.results[heard + 2:])
    assert robot.reports[-1].age_ms < 100.0 and robot.reports[-1].latency_ms < 5000.0

    def told() -> bool:
        robot.send(raw('rgb8'), stamp)
        return robot.says(said)

    assert wait_for(told, 5.0), robot.status()
    assert robot.log.count(said) <= 2
    for _ in range(12):
        assert robot.shows(lambda: raw('rgb8'))
    assert wait_for(lambda: not robot.says('stamp'), 3.0)


def test_a_stall_is_told_and_its_end(robot: Robot) -> None:
    for _ in range(5):
        assert robot.shows(lambda: raw('rgb8'))
    assert wait_for(lambda: robot.says('no picture for'), 15.0), robot.status()
    assert wait_for(lambda: 'no picture for' in robot.log, 3.0)
    assert robot.shows(lambda: raw('rgb8'))
    assert 'pictures come again' in robot.log
