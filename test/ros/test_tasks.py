"""A detector, a segmentation network: from the camera through real nodes to what users see.

Weights are random: what is found means nothing, how it gets there is the same.
"""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import os
from pathlib import Path
import re
from typing import Any

import cv2
from harness import Graph, wait_for
import numpy as np
import pytest
from rcl_interfaces.msg import SetParametersResult
from safetensors.torch import save_file
from sensor_msgs.msg import CompressedImage, Image

from dnn_offload.demo.verdict import accounting_failures
from dnn_offload.graph.random_weights import fill
from dnn_offload.graph.torchvision_compat import import_torchvision
from dnn_offload.msg import FrameReport
from dnn_offload.testbed.environment import changed_environment
from dnn_offload.testbed.session import Session
from dnn_offload.transport.conversion import stamp_of
from dnn_offload.transport.qos import latched
from vision_msgs.msg import Detection2DArray, LabelInfo, VisionInfo

PAGE = Path(__file__).resolve().parents[2] / 'docs/your-own-network.md'
NODE = '/robot/local_inference_node'
WIDTH, HEIGHT = 640, 480  # of the session's pictures


@contextlib.contextmanager
def watched(folder: Path, **options: Any) -> Iterator[tuple[Session, Graph]]:
    """A robot and a server with one plan after the other, and a node that looks on."""
    common = {
        'weights': 'random', 'cache_dir': str(folder / 'cache'), 'profile_budget_s': 2.0,
        'backend': 'torch', **options.pop('common', {}),
    }
    with Session(
        folder, rate_hz=5.0, strategy='', common=common, server={},
        robot={'deadline_ms': 5000.0, 'annotate_rate_hz': 0.0, **options.pop('robot', {})},
        **options,
    ) as session:
        graph = Graph()
        try:
            yield session, graph
        finally:
            graph.close()


def refused(graph: Graph, name: str, value: object) -> str:
    result: SetParametersResult = graph.set_parameter(NODE, name, value)
    assert not result.successful, name
    return str(result.reason)


def serve_at(session: Session, graph: Graph, index: int, codec: str) -> None:
    """Have the server run what is after a cut, until three answers came."""
    profile = session.recorder.profile
    assert profile is not None
    plan_id = session.recorder.publish_plan(
        profile.model_identity, profile.cuts[index].cut_id, codec, 'edge_server'
    )

    def served() -> bool:
        session.fleet.check()
        rows = [row for row in session.recorder.rows if row.plan_id == plan_id]
        return sum(row.outcome == 'remote' for row in rows) >= 3

    assert wait_for(served, 60.0), session.recorder.rows[-3:]


def check_compressed(graph: Graph, drawn: list[Image]) -> None:
    """The annotated picture as image_transport would have it: nobody need ask for a raw one."""
    jpegs = graph.collect(CompressedImage, '/robot/image_annotated/compressed', 2)

    def pair() -> tuple[CompressedImage, Image] | None:
        raws = {stamp_of(image): image for image in list(drawn)}
        return next(((j, raws[stamp_of(j)]) for j in list(jpegs) if stamp_of(j) in raws), None)

    assert wait_for(lambda: pair() is not None, 30.0)
    jpeg, raw = pair() or (CompressedImage(), Image())
    assert jpeg.format == 'rgb8; jpeg compressed bgr8' and jpeg.header == raw.header
    decoded = cv2.imdecode(np.frombuffer(jpeg.data, np.uint8), cv2.IMREAD_COLOR)
    pixels = np.frombuffer(raw.data, np.uint8).reshape(raw.height, raw.width, 3)[..., ::-1]
    assert decoded.shape == pixels.shape
    # With the colours in the wrong order the mean error is far larger.
    assert np.abs(decoded.astype(float) - pixels).mean() < 12.0
    assert len(jpeg.data) < len(raw.data) / 5


def save(image: Image, path: Path) -> np.ndarray:
    """The pixels, also as a file for people who want to look at what a test made."""
    channels = {'rgb8': 3, 'mono8': 1}[image.encoding]
    pixels = np.frombuffer(image.data, np.uint8).reshape(image.height, image.width, channels)
    cv2.imwrite(str(path), pixels[..., ::-1])
    return pixels


@pytest.mark.timeout(280)
def test_a_detector_of_torchvision_from_camera_to_boxes(tmp_path: Path) -> None:
    with watched(
        tmp_path, model='torchvision:ssdlite320_mobilenet_v3_large',
        # Nothing in particular is in the network's list and may not be wished all the same.
        robot={
            'score_threshold': 0.0, 'max_detections': 7,
            'classes': ['__background__', 'person', 'N/A', 'persn'],
        },
    ) as (session, graph):
        found = graph.collect(Detection2DArray, '/robot/detections')
        drawn = graph.collect(Image, '/robot/image_annotated', 2)
        infos = graph.collect(VisionInfo, '/robot/vision_info', latched())
        assert wait_for(lambda: found and drawn and infos, 60.0)
        assert infos[-1].header.frame_id == found[-1].header.frame_id != ''
        assert infos[-1].header.stamp.sec > 0
        check_compressed(graph, drawn)

        # A class of the start-up file that the network does not have is said, with those it has.
        log = next((tmp_path / 'logs').rglob('*local_inference_node*.log')).read_text()
        assert 'no such class; given: __background__, N/A, persn' in log
        assert 'did you mean person?' in log and 'bicycle' in log
        names = {r.hypothesis.class_id for d in found[-1].detections for r in d.results}
        assert names <= {'person'}
        assert '"1": "person"' in infos[-1].database_location

        # Live, and refused with what is allowed.
        assert 'allowed: person, bicycle' in refused(graph, 'classes', ['bicicle'])
        for name, value in (('score_threshold', 1.5), ('iou_threshold', -0.1)):
            assert 'Min: 0.0, Max: 1.0' in refused(graph, name, value)  # rclpy's own words
        assert 'Min: 1, Max: 1000' in refused(graph, 'max_detections', 0)
        for name, value in (('classes', []), ('iou_threshold', 0.9)):
            assert graph.set_parameter(NODE, name, value).successful

        def all_classes() -> bool:
            last = found[-1].detections
            seen = {detection.results[0].hypothesis.class_id for detection in last}
            return len(last) == 7 and seen != {'person'}

        assert wait_for(all_classes, 20.0), found[-1]
        for detection in found[-1].detections:
            box, (best,) = detection.bbox, detection.results
            assert box.center.position.x - box.size_x / 2 + 1e-6 >= 0.0
            assert box.center.position.x + box.size_x / 2 <= WIDTH + 1e-6
            assert box.center.position.y + box.size_y / 2 <= HEIGHT + 1e-6
            assert 0.0 < best.hypothesis.score <= 1.0
            assert detection.header == found[-1].header
        # Each threshold takes effect on the stream that runs.
        assert graph.set_parameter(NODE, 'score_threshold', 1.0).successful
        assert wait_for(lambda: not found[-1].detections, 20.0), found[-1]
        assert graph.set_parameter(NODE, 'score_threshold', 0.0).successful
        assert wait_for(lambda: len(found[-1].detections) == 7, 20.0)
        assert graph.set_parameter(NODE, 'max_detections', 1000).successful
        assert wait_for(lambda: len(found[-1].detections) > 7, 20.0)
        many = len(found[-1].detections)
        assert graph.set_parameter(NODE, 'iou_threshold', 0.0).successful
        assert wait_for(lambda: len(found[-1].detections) < many, 20.0), many
        assert graph.set_parameter(NODE, 'max_detections', 2).successful
        assert wait_for(lambda: len(found[-1].detections) == 2, 20.0)

        # On the server, after the first layers and before the choice of boxes. No limit above
        # is known there.
        profile = session.recorder.profile
        assert profile is not None
        for index, codec in ((0, 'jpeg'), (len(profile.cuts) // 2, 'int8_zstd'),
                             (len(profile.cuts) - 2, 'fp16')):
            serve_at(session, graph, index, codec)
        assert len(found[-1].detections) == 2
        save(drawn[-1], tmp_path / 'boxes.png')
        session.finish()
        assert accounting_failures(
            session.recorder.rows, list(session.recorder.counters.values())
        ) == []


@pytest.mark.timeout(280)
def test_a_segmentation_network_from_camera_to_mask(tmp_path: Path) -> None:
    with watched(
        tmp_path, model='torchvision:lraspp_mobilenet_v3_large',
        common={'input_size': '128x160'},
    ) as (session, graph):
        masks = graph.collect(Image, '/robot/segmentation', 2)
        drawn = graph.collect(Image, '/robot/image_annotated', 2)
        labels = graph.collect(LabelInfo, '/robot/label_info', latched())
        reports = graph.collect(FrameReport, '/robot/frame_report', latched(100))
        assert wait_for(lambda: masks and drawn and labels and reports, 60.0)
        table = {entry.class_id: entry.class_name for entry in labels[-1].class_map}
        assert len(table) == 21 and (table[0], table[15]) == ('__background__', 'person')

        mask = masks[-1]
        assert (mask.encoding, mask.width, mask.height, mask.step) == (
            'mono8', WIDTH, HEIGHT, WIDTH,
        )  # fmt: skip
        stamps = {(r.header.stamp.sec, r.header.stamp.nanosec) for r in reports}
        assert (mask.header.stamp.sec, mask.header.stamp.nanosec) in stamps
        assert mask.header.frame_id == reports[-1].header.frame_id
        pixels = save(mask, tmp_path / 'mask.png')
        present = set(np.unique(pixels).tolist())
        assert present <= set(table)

        # Only the largest class that is something; the rest becomes background.
        kept = max(present - {0}, key=lambda i: int((pixels == i).sum()))
        assert graph.set_parameter(NODE, 'classes', [table[kept]]).successful

        def only_that() -> bool:
            return set(np.unique(np.frombuffer(masks[-1].data, np.uint8)).tolist()) <= {0, kept}

        assert wait_for(only_that, 20.0)
        assert graph.set_parameter(NODE, 'classes', []).successful

        # The mask comes back from a server, in a few percent of its bytes.
        profile = session.recorder.profile
        assert profile is not None
        for index, codec in ((0, 'jpeg'), (len(profile.cuts) // 2, 'int8_zstd')):
            serve_at(session, graph, index, codec)
        assert reports[-1].result_codec == 'zstd'
        assert profile.output_bytes['zstd'] < profile.output_bytes['raw'] / 5
        count = len(masks)
        assert wait_for(lambda: len(masks) > count, 20.0)
        save(masks[-1], tmp_path / 'mask_of_server.png')
        save(drawn[-1], tmp_path / 'segmentation.png')
        session.finish()
        assert accounting_failures(
            session.recorder.rows, list(session.recorder.counters.values())
        ) == []


@pytest.mark.timeout(280)
def test_a_network_of_the_user_from_its_factory_to_boxes(tmp_path: Path) -> None:
    """The detector of docs/your-own-network.md: its code and its weights, on both sides."""
    source = '\n'.join(re.findall(r'(?ms)^```python\n(.*?)^```', PAGE.read_text()))
    (tmp_path / 'my_networks.py').write_text(source)
    import_torchvision()  # which is mended where it does not fit torch; the nodes do so, too
    made: dict[str, Any] = {}
    exec(compile(source, 'my_networks.py', 'exec'), made)
    net = made['grid']().module
    fill(net)
    weights = tmp_path / 'grid.safetensors'
    save_file({name: tensor.contiguous() for name, tensor in net.state_dict().items()}, weights)

    path = f'{tmp_path}{os.pathsep}{os.environ.get("PYTHONPATH", "")}'
    with changed_environment({'PYTHONPATH': path}), watched(
        tmp_path, model='python:my_networks:grid',
        common={'allow_code': True, 'weights': str(weights)}, robot={'score_threshold': 0.0},
    ) as (session, graph):
        found = graph.collect(Detection2DArray, '/robot/detections')
        infos = graph.collect(VisionInfo, '/robot/vision_info', latched())
        assert wait_for(lambda: infos and any(message.detections for message in found), 60.0)
        assert '"0": "cup"' in infos[-1].database_location

        # Whoever may set parameters does not choose what code runs.
        reason = refused(graph, 'model', 'python:my_networks:floor')
        assert 'executes code' in reason and 'start-up file' in reason

        profile = session.recorder.profile
        assert profile is not None
        for index, codec in ((0, 'jpeg'), (len(profile.cuts) // 2, 'raw')):
            found.clear()
            serve_at(session, graph, index, codec)
            assert wait_for(lambda: any(message.detections for message in found), 20.0)
        names = {r.hypothesis.class_id for m in found for d in m.detections for r in d.results}
        assert names and names <= {'cup', 'ball'}
        session.finish()
        assert accounting_failures(
            session.recorder.rows, list(session.recorder.counters.values())
        ) == []
