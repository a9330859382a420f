"""Every topic of every node, as its node opens it and docs/ros.md shows it. No ROS."""

from __future__ import annotations

from dataclasses import dataclass, replace

from dnn_offload.transport import topics as wire
from dnn_offload.transport.topics import Endpoint, Quality, Reliability

LATCHED = Quality(1, latched=True)

# ---- all nodes ---------------------------------------------------------------------------------

DIAGNOSTICS = Endpoint(
    '/diagnostics', 'diagnostic_msgs/msg/DiagnosticArray', Quality(10),
    'How the node is, once a second, in every state.',
    'As diagnostic_updater does it.',
)

# ---- pictures ----------------------------------------------------------------------------------

IMAGE_RAW = Endpoint(
    'image_raw', 'sensor_msgs/msg/Image', Quality(1),
    'Pictures with their acquisition stamp, while somebody subscribes.',
    'Only the newest counts. Reliable, which also serves subscribers with sensor-data QoS: '
    'best-effort pictures of 640x480 got lost between processes (15 to 45 of 180 arrived).',
    overridable=True,
)
IMAGE_COMPRESSED = replace(
    IMAGE_RAW, name='image_raw/compressed', type_name='sensor_msgs/msg/CompressedImage',
    what='The same as JPEG, while somebody subscribes; beside image_raw where that is remapped.',
    why='As image_raw.',
)
CAMERA_INFO = replace(
    IMAGE_RAW, name='camera_info', type_name='sensor_msgs/msg/CameraInfo',
    what='Calibration, with the stamp and frame of its picture.',
    why='As image_raw.',
)
IMAGE_IN = Endpoint(
    IMAGE_RAW.name, IMAGE_RAW.type_name, Quality(1, Reliability.AS_PUBLISHED),
    'Pictures of any camera driver, simulator or bag.',
    'Only the newest counts. Reliable if every publisher is, else best effort, looked at once a '
    'second: a reliable subscriber hears nothing from a best-effort camera.',
    overridable=True,
)
COMPRESSED_IN = replace(
    IMAGE_IN, name=IMAGE_COMPRESSED.name, type_name=IMAGE_COMPRESSED.type_name,
    what='The same as JPEG or PNG, instead of image_raw (image_transport).',
    why='As image_raw.',
)

# ---- results -----------------------------------------------------------------------------------

DETECTIONS = Endpoint(
    'detections', 'vision_msgs/msg/Detection2DArray', Quality(10),
    'Boxes in pixels of the picture, with the picture\'s header (detection networks).',
    'Results must not get lost; who reads slowly still gets the last ten.',
    overridable=True,
)
CLASSIFICATION = replace(
    DETECTIONS, name='classification', type_name='vision_msgs/msg/Classification',
    what='The best classes, with the picture\'s header (classification networks).',
    why='As detections.',
)
SEGMENTATION = Endpoint(
    'segmentation', 'sensor_msgs/msg/Image', Quality(2),
    'The class of each pixel as mono8, in the picture\'s size, with its header (segmentation '
    'networks).',
    'As large as pictures: an old one is of no use.',
    overridable=True,
)
IMAGE_ANNOTATED = Endpoint(
    'image_annotated', 'sensor_msgs/msg/Image', Quality(2),
    'The picture with its results drawn on it, while somebody subscribes.',
    'For the eye: an old one is of no use.',
    overridable=True,
)
ANNOTATED_COMPRESSED = replace(
    IMAGE_ANNOTATED, name='image_annotated/compressed',
    type_name='sensor_msgs/msg/CompressedImage',
    what='The same as JPEG, while somebody subscribes; beside image_annotated where that is '
    'remapped.',
    why='As image_annotated.',
)
VISION_INFO = Endpoint(
    'vision_info', 'vision_msgs/msg/VisionInfo', LATCHED,
    'Names of the classes.',
    'Said once for each network and frame: a late-comer must still get it.',
)
LABEL_INFO = replace(
    VISION_INFO, name='label_info', type_name='vision_msgs/msg/LabelInfo',
    what='Names of the values of a mask (segmentation networks).',
    why='As vision_info.',
)

# ---- between our nodes on one robot ------------------------------------------------------------

FRAME_REPORT = Endpoint(
    'frame_report', 'dnn_offload/msg/FrameReport', Quality(100, latched=True),
    'The end of each frame: outcome, times, counters.',
    'Whoever counts frames must also get those of before it was there.',
)
LINK_SAMPLE = Endpoint(
    'link_sample', 'dnn_offload/msg/LinkSample', Quality(100),
    'Measured transfers of probes, and losses; those of frames are in frame_report.',
    'Each counts for the link estimate; the depth is a burst of them.',
)
EDGE_PROFILE = Endpoint(
    'edge_profile', 'std_msgs/msg/String', LATCHED,
    'Measured profile of the robot (JSON, docs/profiles.md).',
    'Said once: a late-comer must still get it.',
)
PLAN = Endpoint(
    'plan', 'dnn_offload/msg/Plan', LATCHED,
    'What shall run, and what it was chosen from.',
    'State: an inference node that is started again must see it at once.',
)
PLAN_TRIAL = Endpoint(
    'plan_trial', 'dnn_offload/msg/Plan', Quality(10),
    'A plan to try with a few frames.',
    'An event: a late-comer must not run it again.',
)
PLAN_MARKER = Endpoint(
    'plan_marker', 'visualization_msgs/msg/Marker', LATCHED,
    'The plan in words, for rviz, while somebody subscribes.',
    'rviz is often started late.',
)
LOAD = Endpoint(
    'load', 'dnn_offload/msg/Load', Quality(10),
    'How much slower the load makes our inference.',
    'Comes several times a second: nothing for late-comers.',
)


def _read(endpoint: Endpoint, depth: int, why: str, latched: bool = False) -> Endpoint:
    """A subscription to what another of our nodes publishes."""
    return replace(endpoint, quality=Quality(depth, latched=latched), why=why)


PLAN_IN = replace(PLAN, why='Gets the plan in force, however late it starts.')
PLAN_TRIAL_IN = PLAN_TRIAL
LOAD_IN = _read(LOAD, 1, 'Only the newest counts.')
LOAD_FOR_PLANS = _read(LOAD, 10, 'Each reading counts for the average.')
EDGE_PROFILE_IN = replace(EDGE_PROFILE, why='Gets the profile, however late it starts.')
FRAMES_FOR_PLANS = _read(FRAME_REPORT, 50, 'Each frame counts; old ones of before do not.')
FRAMES_FOR_LOAD = _read(FRAME_REPORT, 50, 'Each tells what the network used of the CPU.')
LINK_SAMPLE_IN = _read(LINK_SAMPLE, 50, 'Each sample counts for the link estimate.')


@dataclass(frozen=True)
class NodeTopics:
    """What one node publishes and subscribes to, in the order of docs/ros.md."""

    publishes: tuple[Endpoint, ...]
    subscribes: tuple[Endpoint, ...] = ()


TOPICS: dict[str, NodeTopics] = {
    'camera_node': NodeTopics((IMAGE_RAW, IMAGE_COMPRESSED, CAMERA_INFO)),
    'local_inference_node': NodeTopics(
        (
            DETECTIONS, CLASSIFICATION, SEGMENTATION, IMAGE_ANNOTATED, ANNOTATED_COMPRESSED,
            VISION_INFO, LABEL_INFO, FRAME_REPORT, LINK_SAMPLE, EDGE_PROFILE, wire.TENSORS_OUT,
        ),
        (
            IMAGE_IN, COMPRESSED_IN, PLAN_IN, PLAN_TRIAL_IN, LOAD_IN, wire.SERVER_STATUS_IN,
            wire.RESULTS_IN,
        ),
    ),
    'partition_planner_node': NodeTopics(
        (PLAN, PLAN_TRIAL, PLAN_MARKER),
        (
            EDGE_PROFILE_IN, LOAD_FOR_PLANS, FRAMES_FOR_PLANS, LINK_SAMPLE_IN,
            wire.SERVER_STATUS_IN, wire.PROFILE_IN,
        ),
    ),
    'load_monitor_node': NodeTopics((LOAD,), (FRAMES_FOR_LOAD,)),
    'remote_inference_node': NodeTopics(
        (wire.SERVER_STATUS_OUT, wire.PROFILE_OUT, wire.RESULTS_OUT), (wire.TENSORS_IN,)
    ),
}
