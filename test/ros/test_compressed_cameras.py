"""Cameras that publish compressed pictures: found, read, and passed on to a server."""

from __future__ import annotations

from pathlib import Path

from camera_robot import compressed, raw, Robot
from harness import NodeProcess, running_graph, wait_for
import pytest
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import String

from dnn_offload.cost.profile import Profile
from dnn_offload.msg import FrameReport, Plan
from dnn_offload.transport.conversion import byte_array
from dnn_offload.transport.qos import latched

REMOTE = FrameReport.OUTCOME_REMOTE


def test_compressed_pictures_of_a_remapped_camera(tmp_path: Path) -> None:
    """Only ``compressed`` has a publisher, best effort, beside the remapped base topic."""
    with running_graph() as graph:
        robot = Robot(
            graph, tmp_path / 'log', '-r', 'image_raw:=/cam/front', base='/cam/front'
        )
        robot.publisher(CompressedImage, qos_profile_sensor_data)
        drawn = graph.collect(Image, '/robot/image_annotated')
        with robot.process:
            assert robot.shows(compressed, 60.0), robot.log
            assert 'pictures are taken from /cam/front/compressed (best effort)' in robot.log
            for make in (
                lambda: compressed('png', 'mono8; png compressed '),
                lambda: compressed('jpg', 'jpeg', behind=b'\0' * 9000),
                lambda: compressed(height=50, width=70),
            ):
                assert robot.shows(make), robot.log[-2000:]
            assert wait_for(lambda: any((d.height, d.width) == (96, 128) for d in drawn), 5.0)
            broken = compressed()
            broken.data = broken.data[:-40]
            foreign = CompressedImage(format='h264', data=byte_array(b'\0\0\0\1\x67' * 9))
            for message in (broken, foreign, CompressedImage()):
                assert robot.refuses(message), robot.log[-2000:]
            assert "given: format 'h264'" in robot.log and 'allowed: JPEG, PNG' in robot.log
            assert robot.shows(compressed)
            assert wait_for(lambda: robot.value('camera_topic') == '/cam/front/compressed', 3.0)


def test_a_driver_that_advertises_both_and_publishes_one(tmp_path: Path) -> None:
    """As usb_cam does with MJPEG; raw ones win once they come; ``image_transport`` can be told."""
    with running_graph() as graph:
        robot = Robot(graph, tmp_path / 'log')
        robot.publisher(Image)
        with robot.process:
            assert robot.shows(compressed, 60.0), robot.log
            def taken_from(topic: str) -> bool:
                robot.send(raw('rgb8'))
                robot.send(compressed())
                return wait_for(lambda: robot.value('camera_topic') == topic, 0.2)

            assert wait_for(lambda: taken_from('/robot/image_raw'), 10.0), robot.log
            assert robot.shows(lambda: raw('rgb8'))
            node = '/robot/local_inference_node'
            assert 'allowed' in graph.set_parameter(node, 'image_transport', 'theora').reason
            assert graph.set_parameter(node, 'image_transport', 'compressed').successful
            assert wait_for(lambda: taken_from('/robot/image_raw/compressed'), 5.0), robot.log
            assert robot.shows(compressed)


def test_a_topic_of_another_type_is_told(tmp_path: Path) -> None:
    """A common slip: image_raw remapped to the compressed topic itself."""
    with running_graph() as graph:
        robot = Robot(graph, tmp_path / 'log', '-r', 'image_raw:=/robot/image_raw/compressed')
        robot.publisher(CompressedImage)
        with robot.process:
            assert wait_for(lambda: robot.says('without /compressed'), 60.0), robot.status()


def test_a_jpeg_passes_to_the_server_and_its_result_is_that_of_the_robot(tmp_path: Path) -> None:
    with running_graph() as graph:
        profiles = graph.collect(String, '/robot/edge_profile', latched())
        robot = Robot(
            graph, tmp_path / 'robot', '-p', 'pass_jpeg:=always', '-p', 'score_threshold:=0.0'
        )
        server = NodeProcess(
            'remote_inference_node', ['-r', '__ns:=/edge_server', '-p', 'server_id:=edge_server'],
            tmp_path / 'server',
        )
        with robot.process, server:
            assert robot.shows(compressed, 90.0), robot.log
            here = robot.results[-1]
            profile = Profile.from_json(profiles[-1].data)
            graph.publisher(Plan, '/robot/plan', latched()).publish(Plan(
                plan_id=7, model_identity=profile.model_identity, cut=profile.cuts[0].cut_id,
                codec='jpeg', server='edge_server',
            ))

            def remote() -> bool:
                assert robot.shows(compressed)
                return robot.reports[-1].outcome == REMOTE

            assert wait_for(remote, 60.0), robot.log + server.log.read_text()
            report, there = robot.reports[-1], robot.results[-1]
            assert report.preprocess_ms == report.encode_ms == 0.0
            sent = compressed()
            assert len(sent.data) < report.uplink_bytes < len(sent.data) + 200
            # The best of all; backends of the two sides may differ in the last digits.
            one, other = here.detections[0], there.detections[0]
            for axis in ('x', 'y'):
                assert getattr(one.bbox.center.position, axis) == pytest.approx(
                    getattr(other.bbox.center.position, axis), abs=0.1)
            assert one.results[0].hypothesis.score == pytest.approx(
                other.results[0].hypothesis.score, abs=1e-3)
            # A damaged one: refused there, not decodable here, and the server stays.
            broken = compressed()
            at = bytes(broken.data).index(b'\xff\xc4')
            broken.data[at + 4:at + 24] = byte_array(b'\xff' * 20)  # its Huffman table
            assert robot.refuses(broken), robot.log[-2000:]
            assert wait_for(lambda: 'refused by the server' in robot.log, 3.0)
            assert wait_for(remote, 20.0), robot.log[-2000:]
            assert 'lost' not in robot.log
