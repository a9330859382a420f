"""Parameters that robot and server share: which network, where they meet. No ROS."""

from __future__ import annotations

from collections.abc import Callable
import re
from typing import Any

from dnn_offload.errors import ConfigurationError
from dnn_offload.graph.known_networks import (
    DEMO_DETECTOR,
    FIXED_SIZES,
    near_names,
    torchvision_weights,
)
from dnn_offload.nodes.parameters import ParameterSpec
from dnn_offload.runtime.backends import names as backends
from dnn_offload.runtime.thread_count import DEFAULTS
from dnn_offload.transport import names

EXECUTING = ('python', 'file')
RANDOM = 'random'
MAX_CHARS = 1000


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


def name_part(text: str) -> str:
    """What is wrong with the name of a robot or a server, '' if nothing; empty is a default."""
    if text == '' or names.is_name(text):
        return ''
    return (
        f'empty, or letters, digits and single underscores, a letter first, at most '
        f'{names.MAX_NAME}'
    )


def _source(text: str) -> str:
    """What is wrong with a model source, as far as its text tells; '' if nothing."""
    kind, _, name = text.partition(':')
    if kind == 'torchvision' and torchvision_weights():
        if name in torchvision_weights():
            return ''
        near = near_names(name)
        return 'a network of torchvision' + (f', such as {near}' if near else '')
    good = {'torchvision': name, 'demo': text == DEMO_DETECTOR, 'file': name,
            'python': re.fullmatch(r'\w+(\.\w+)*:\w+', name)}
    if good.get(kind) and _sound(text):
        return ''
    return 'torchvision:NAME, demo:detector, python:pkg.mod:factory, file:model.pt2'


def _weights(text: str) -> str:
    """What is wrong with the name or the path of weights, as far as its text tells."""
    named = text == RANDOM or re.fullmatch('[A-Z][A-Z0-9_]*', text)
    if (named or text.endswith('.safetensors')) and _sound(text):
        return ''
    return f'DEFAULT, {RANDOM}, a name such as IMAGENET1K_V1, or a path of a .safetensors file'


def _sound(text: str) -> bool:
    """Whether a text can be part of a command and of a message."""
    return len(text) <= MAX_CHARS and text.isprintable()


def check_model(changed: dict[str, Any], now: Callable[[str], Any]) -> None:
    """Refuse what cannot be loaded, as far as that is known, and code that comes live.

    Whoever can set parameters over the network must not choose what code runs here. Weights and
    input size are held against the network where they come with it: set one after another, they
    may not fit each other for a while.

    Args:
        changed: Parameters and their new values; at start all.
        now: Gives the value in force.

    Raises:
        ConfigurationError: It is not acceptable.
    """
    source = changed.get('model')
    if source is None:
        return
    kind, _, name = source.partition(':')
    if kind in EXECUTING and source != now('model'):
        raise ConfigurationError(
            'parameter model is refused: a source that executes code is taken only when the node '
            'starts', given=source, allowed='torchvision:NAME, demo:detector',
            hint='set it in the start-up file, with allow_code: true',
        )
    if kind in EXECUTING and not now('allow_code'):
        raise ConfigurationError(
            f'parameter model is refused: a {kind}: source executes code', given=source,
            hint='set allow_code: true in the start-up file if you trust it',
        )
    named = torchvision_weights().get(name, ()) if kind == 'torchvision' else ()
    weights = changed.get('weights', 'DEFAULT')
    if (named or kind != 'torchvision') and weights not in ('DEFAULT', RANDOM, *named) and (
        not weights.endswith('.safetensors')
    ):
        raise ConfigurationError(
            f'parameter weights is refused: {source} has no such ones', given=weights,
            allowed=', '.join(('DEFAULT', *named, RANDOM, 'a path of a .safetensors file')),
        )
    size = '{}x{}'.format(*FIXED_SIZES[source]) if source in FIXED_SIZES else ''
    if size and changed.get('input_size', '') not in ('', size):
        raise ConfigurationError(
            f'parameter input_size is refused: that of {source} is fixed',
            given=changed['input_size'], allowed=f'{size}, or empty',
        )


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
        'file:model.pt2. The last two execute code: they need allow_code and are taken only when '
        'the node starts. Must be the same on robot and server.',
        at_configure=True,
        check=_source,
    ),
    ParameterSpec(
        'weights',
        'DEFAULT',
        'Weights of a torchvision network: the name of an enum entry (downloaded by '
        'torchvision), the path of a .safetensors file, or random (stamped on the picture).',
        at_configure=True,
        check=_weights,
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
        'Input of the network as HEIGHTxWIDTH, each 32 to 2048; empty = the model\'s own.',
        unit='px',
        at_configure=True,
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
        at_configure=True,
    ),
    ParameterSpec(
        'provisional_profile',
        True,
        'At a first start, begin by torch, with a profile that is measured within 1.5 s (at most '
        'a fifth of profile_budget_s) and in part predicted; the whole one is measured beside the '
        'stream, which then goes on by the backend that is set or was fastest. false: begin when '
        'the whole one is measured.',
        at_configure=True,
    ),
    ParameterSpec(
        'backend',
        'auto',
        'What runs the network: torch, torch:cuda, onnxruntime, openvino or openvino:DEVICE '
        '(e.g. GPU); auto = the fastest of those that are there, measured with the profile; '
        'several joined by +, or all = each head and tail by the one that is fastest at it. '
        'What is not there, or cannot run the network, is replaced by torch.',
        at_configure=True,
        check=backends.check,
    ),
    ParameterSpec(
        'threads',
        DEFAULTS['edge'],
        'Threads of the backend; 0 = one per physical core that the process may use, 8 at most. '
        'Beside a busy navigation one is best: with as many threads as cores and one busy '
        'process, inference slows down 3 to 4 times.',
        minimum=0,
        maximum=64,
        at_configure=True,
    ),
)
