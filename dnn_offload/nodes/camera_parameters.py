"""Parameters of ``camera_node``. No ROS."""

from __future__ import annotations

from dnn_offload.errors import OffloadError
from dnn_offload.nodes.camera_sources import ALLOWED, MAX_SIDE_PX, parse_source
from dnn_offload.nodes.parameters import ParameterSpec

NODE = 'camera_node'
SLOWEST_HZ = 0.01
SUMMARY = (
    'Publishes pictures of a camera, a video, a folder or a stream as `image_raw`, '
    '`image_raw/compressed` (only while somebody subscribes) and `camera_info`.'
)


def _check_source(text: str) -> str:
    try:
        parse_source(text)
    except OffloadError:
        return ALLOWED
    return ''


def _check_rate(rate_hz: float) -> str:
    if rate_hz == 0.0 or rate_hz >= SLOWEST_HZ:
        return ''
    return f'0 (the source\'s own rate), or {SLOWEST_HZ} .. 1000 Hz'


def _check_url(text: str) -> str:
    if text == '' or text.startswith('file://') or '://' not in text:
        return ''
    return 'file:///path/to/calibration.yaml, a plain path, or empty'


PARAMETERS: tuple[ParameterSpec, ...] = (
    ParameterSpec(
        'source',
        '0',
        'Where pictures come from: a camera index ("0"), "device:/dev/video0", a video file, a '
        'folder of pictures (taken in the order of their names), or an rtsp://, http:// or '
        'https:// URL.',
        check=_check_source,
    ),
    ParameterSpec(
        'loop',
        True,
        'A video or a folder starts again after its end; false: it plays once and the node '
        'stays.',
    ),
    ParameterSpec(
        'rate_hz',
        0.0,
        'Pictures per second; 0 = the source\'s own rate (a video\'s frame rate, a camera\'s '
        'rate; 10 for a folder), else 0.01 at least. A camera that is faster is thinned out, a '
        'video is played faster or slower.',
        unit='Hz',
        minimum=0.0,
        maximum=1000.0,
        check=_check_rate,
    ),
    ParameterSpec(
        'width',
        0,
        'Width of the published picture; 0 = the source\'s, or from height with the aspect '
        'kept. A camera is asked for it first, then the picture is resized. Width times height is '
        'at most 33.6 million pixels.',
        unit='px',
        minimum=0,
        maximum=MAX_SIDE_PX,
    ),
    ParameterSpec(
        'height',
        0,
        'Height of the published picture; 0 = the source\'s, or from width with the aspect kept.',
        unit='px',
        minimum=0,
        maximum=MAX_SIDE_PX,
    ),
    ParameterSpec(
        'pixel_format',
        '',
        'Four-character code asked of a V4L2 camera, e.g. MJPG (many USB cameras reach 30 fps '
        'above 640x480 only with it); empty = the driver\'s choice.',
        check=lambda code: '' if len(code) in (0, 4) else 'four characters or empty',
    ),
    ParameterSpec(
        'encoding',
        'bgr8',
        'Encoding of image_raw; bgr8 is what OpenCV delivers and costs no conversion.',
        choices=('bgr8', 'rgb8'),
    ),
    ParameterSpec(
        'frame_id',
        'camera_optical_frame',
        'Frame of the pictures: the optical frame (x right, y down, z forward, REP 103).',
    ),
    ParameterSpec(
        'camera_info_url',
        '',
        'Calibration in the YAML format of camera_calibration, as file:///path or a path; '
        'empty = camera_info says "uncalibrated".',
        check=_check_url,
    ),
    ParameterSpec(
        'jpeg_quality',
        85,
        'Quality of image_raw/compressed.',
        unit='%',
        minimum=1,
        maximum=100,
    ),
    ParameterSpec(
        'reopen_min_s',
        0.5,
        'First wait before a lost source is opened again; doubles with every failure.',
        unit='s',
        minimum=0.05,
        maximum=60.0,
    ),
    ParameterSpec(
        'reopen_max_s',
        10.0,
        'Longest wait before a lost source is opened again.',
        unit='s',
        minimum=0.05,
        maximum=600.0,
    ),
    ParameterSpec(
        'stall_timeout_s',
        5.0,
        'A stream that delivers nothing for so long is taken as lost and opened again.',
        unit='s',
        minimum=0.2,
        maximum=120.0,
    ),
)
