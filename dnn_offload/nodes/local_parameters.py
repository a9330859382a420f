"""Parameters of local_inference_node: the robot's half of the split network. No ROS."""

from __future__ import annotations

from dnn_offload.codec.registry import AUTO, names_for_answers
from dnn_offload.nodes.model_parameters import MODEL_PARAMETERS, name_part
from dnn_offload.nodes.parameters import common_parameters, ParameterSpec
from dnn_offload.runtime.passing import MODES

NODE = 'local_inference_node'
SUMMARY = (
    'Takes pictures, runs the head of the network, sends what crosses the cut to the edge '
    'server, receives or rescues the answer, publishes detections, classes or a mask.'
)

# Navigation comes first: with a core to share this process gets a quarter of it, and when memory
# runs out the kernel takes it before a process of the same size that matters more (docs/nav2.md).
COMMON = common_parameters(nice=5, oom_score_adj=500)

PARAMETERS: tuple[ParameterSpec, ...] = (
    *MODEL_PARAMETERS,
    ParameterSpec(
        'client_id',
        '',
        'Readable part of this robot\'s name at the servers; empty = host name and namespace. '
        'Each start adds four random digits, so that answers to a former life go nowhere.',
        read_only=True,
        check=name_part,
    ),
    ParameterSpec(
        'image_transport',
        'auto',
        'Where pictures are taken from: raw = image_raw, compressed = image_raw/compressed (JPEG '
        'or PNG), auto = raw where somebody publishes that, else compressed.',
        choices=('auto', 'raw', 'compressed'),
    ),
    ParameterSpec(
        'pass_jpeg',
        'auto',
        'Whether a camera\'s JPEG goes to the server as it came, where the plan sends the '
        'picture: auto = unless that is later than bringing it to the network\'s size here '
        'first; always; never. Passing spares the processor here and costs bytes.',
        choices=MODES,
    ),
    ParameterSpec(
        'deadline_ms',
        500.0,
        'From acquisition of a picture to publication of its result. A frame without an answer '
        'is finished on the robot in time for it. 0 = no deadline (a lost answer is then '
        'noticed after two seconds).',
        unit='ms',
        minimum=0.0,
        maximum=60000.0,
    ),
    ParameterSpec(
        'window',
        4,
        'Most frames in work at the same time: capture, head, uplink, tail and downlink of '
        'successive frames overlap. As many are used as keep the slowest of these busy.',
        minimum=1,
        maximum=8,
    ),
    ParameterSpec(
        'max_uplink_bps',
        0.0,
        'Limit of the uplink that this node keeps to, for networks shared with others; '
        '0 = none.',
        unit='bit/s',
        minimum=0.0,
        maximum=1e11,
    ),
    ParameterSpec(
        'result_codec',
        AUTO,
        'Codec of the answers. auto: zstd for a mask, which shrinks to a few percent without '
        'loss, else raw.',
        choices=(AUTO, *names_for_answers()),
    ),
    ParameterSpec(
        'server_timeout_s',
        1.0,
        'A server is lost when nothing was heard from it for so long: at least two of its '
        'statuses (status_rate_hz there), better four.',
        unit='s',
        minimum=0.5,
        maximum=30.0,
    ),
    ParameterSpec(
        'probe_period_s',
        1.5,
        'A probe measures the link when nothing else was sent for so long, on a slow link more '
        'rarely (an eighth of it), with short looks between; one that says another '
        'rate than the last is confirmed by two more at once. It also tells the '
        'server that we are there (its client_timeout_s is above the longest period).',
        unit='s',
        minimum=0.2,
        maximum=5.0,
    ),
    ParameterSpec(
        'score_threshold',
        0.4,
        'Detections below this score are not published. Like all that follows down to top_k: '
        'acts on what comes out of the network; the server need not know.',
        minimum=0.0,
        maximum=1.0,
    ),
    ParameterSpec(
        'iou_threshold',
        0.5,
        'Of two detections of one class that overlap more than this (intersection over union), '
        'the better one stays.',
        minimum=0.0,
        maximum=1.0,
    ),
    ParameterSpec(
        'classes',
        (),
        'Names of the classes that are published, as in vision_info; empty = all. In a '
        'segmentation the pixels of the others become background (255 where the network has '
        'none). A name that the network does not have is refused; in a start-up file it is told, '
        'and the others count.',
    ),
    ParameterSpec(
        'max_detections',
        100,
        'Most detections published per picture, the best ones. A network hands on no more than '
        'its own best boxes, overlapping ones among them: demo:detector 100, ssdlite320 300.',
        minimum=1,
        maximum=1000,
    ),
    ParameterSpec(
        'top_k',
        5,
        'Classes published per picture by a classification network.',
        minimum=1,
        maximum=100,
    ),
    ParameterSpec(
        'annotate_rate_hz',
        10.0,
        'Highest rate of image_annotated; drawn only while somebody subscribes. 0 = every '
        'result.',
        unit='Hz',
        minimum=0.0,
        maximum=120.0,
    ),
    ParameterSpec(
        'gil_monitor',
        False,
        'Measure the longest time that the interpreter lock was held (diagnostics value '
        'gil_longest_ms); costs about 1 % of a core.',
    ),
)
