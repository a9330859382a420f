"""Parameters that robot and server share: which network, where they meet. No ROS."""

from __future__ import annotations

from dnn_offload.nodes.parameters import ParameterSpec
from dnn_offload.runtime.backends import names


def _input_size(text: str) -> str:
    """What is wrong with an ``HxW`` text, '' if nothing."""
    if text == '':
        return ''
    height, _, width = text.partition('x')
    good = height.isdigit() and width.isdigit() and all(
        32 <= int(side) <= 2048 for side in (height, width)
    )
    return '' if good else 'empty (the model\'s own), or HEIGHTxWIDTH, each 32..2048, e.g. 240x320'


def _topic(text: str) -> str:
    good = text.startswith('/') and all(
        part.isidentifier() for part in text.strip('/').split('/')
    )
    return '' if good else 'an absolute topic namespace such as /dnn_offload'


MODEL_PARAMETERS: tuple[ParameterSpec, ...] = (
    ParameterSpec(
        'rendezvous_namespace',
        '/dnn_offload',
        'Absolute namespace in which robots and servers meet, whatever their own namespaces '
        'are. Must be the same on both sides.',
        read_only=True,
        check=_topic,
    ),
    ParameterSpec(
        'model',
        'demo:detector',
        'The network: torchvision:NAME, demo:detector, python:pkg.mod:factory or '
        'file:model.pt2. The last two execute code and need allow_code. Must be the same on '
        'robot and server.',
        read_only=True,
    ),
    ParameterSpec(
        'weights',
        'DEFAULT',
        'Weights of a torchvision network: the name of an enum entry (downloaded by '
        'torchvision), the path of a .safetensors file, or random (stamped on the picture).',
        read_only=True,
    ),
    ParameterSpec(
        'allow_code',
        False,
        'Allow model sources that execute code (python: and file:).',
        read_only=True,
    ),
    ParameterSpec(
        'input_size',
        '',
        'Input of the network as HEIGHTxWIDTH; empty = the model\'s own.',
        unit='pixel',
        read_only=True,
        check=_input_size,
    ),
    ParameterSpec(
        'cache_dir',
        '~/.cache/dnn_offload',
        'Where exported networks and profiles are kept.',
        read_only=True,
    ),
    ParameterSpec(
        'profile_budget_s',
        8.0,
        'Time that measuring the profile may take after the first start; it is cached.',
        unit='s',
        minimum=1.0,
        maximum=600.0,
        read_only=True,
    ),
    ParameterSpec(
        'provisional_profile',
        True,
        'At a first start, begin with a profile that is measured within 1.5 s (at most a fifth of '
        'profile_budget_s) and in part predicted, and measure the whole one beside the stream. '
        'false, or another backend than torch: begin when the whole one is measured.',
        read_only=True,
    ),
    ParameterSpec(
        'backend',
        'auto',
        'What runs the network: torch, torch:cuda, onnxruntime, openvino or openvino:DEVICE '
        '(e.g. GPU); auto = the fastest of those that are there, measured with the profile. '
        'What is not there, or cannot run the network, is replaced by torch.',
        read_only=True,
        check=names.check,
    ),
    ParameterSpec(
        'threads',
        1,
        'Threads of the backend. One is best beside a busy navigation: with as many threads as '
        'cores and one busy process, inference slows down 3 to 4 times.',
        minimum=1,
        maximum=64,
        at_configure=True,
    ),
)
