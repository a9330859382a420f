"""What this machine has measured joins what is known: its own copy of the layer data base.

Networks and the device join online (RoaD-RuNNer, section III-A): each network that was measured
here is kept with its layers and times, per device (processor, library, backend, threads). The
next network of the same device is predicted from the shipped data base *and* from these layers:
they are conditioned on like layers of its own (``predict_layers(..., elsewhere)``), each network
with a factor of its own for the hour at which it was measured.

They are not a further row of the data base: as one known device among fifteen a robot tells of
itself next to nothing (``benchmarks/prediction/second_network.py``), and regression trees would
have to be fitted anew, which takes seconds.

The file is JSON with a schema version and bounds on its size. A file that is damaged, or of
another version, is made anew by the next network that joins; whoever reads it is told.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
import json
import math
from pathlib import Path
from typing import Any

from dnn_offload.cost.layer_features import FEATURES
from dnn_offload.cost.predict.database import features_of
from dnn_offload.cost.profile import LayerProfile, MAX_LAYERS, Profile
from dnn_offload.errors import MALFORMED, ProfileError
from dnn_offload.whole_file import write_whole

SCHEMA_VERSION = 1
TORCH = 'torch'
OWN_LAYERS_FILE = 'measured_layers.json'
MAX_NETWORKS = 32  # of all devices; the one that joined first goes first
MAX_BYTES = 4 << 20
# Conditioning on n layers takes n cubed: 0.05 s for as many on one core.
MAX_USED = 400
LEAST_USED = 20  # of a network; fewer are not worth it
DEVICE_FACTS = ('processor', 'cores', 'torch', 'cpu_capability')


@dataclass(frozen=True)
class MeasuredNetwork:
    """A network as it was measured on one device.

    Attributes:
        device: What makes the device another one (``device_of``).
        model: Source of the network, for people.
        model_identity: Digest of weights and input.
        layers: In order; ``time_ms`` without waiting for a processor.
    """

    device: Mapping[str, Any]
    model: str
    model_identity: str
    layers: tuple[LayerProfile, ...]


def device_of(facts: Mapping[str, Any], backend: str, threads: int) -> dict[str, Any]:
    """What makes two devices different, out of ``Profile.device``."""
    named = {name: facts.get(name) for name in DEVICE_FACTS}
    return {**named, 'backend': backend, 'threads': threads}


def measured_on(
    networks: Sequence[MeasuredNetwork], device: Mapping[str, Any]
) -> tuple[tuple[LayerProfile, ...], ...]:
    """Layers to predict from: those of one device, what joined last first, ``MAX_USED`` of them.

    The network that does not fit whole is thinned out evenly.
    """
    found: list[tuple[LayerProfile, ...]] = []
    room = MAX_USED
    for network in reversed(networks):
        if network.device == dict(device) and room >= LEAST_USED:
            layers = network.layers[:: math.ceil(len(network.layers) / room)]
            found.append(layers)
            room -= len(layers)
    return tuple(found)


def joined(networks: Sequence[MeasuredNetwork], profile: Profile) -> tuple[MeasuredNetwork, ...]:
    """The networks with one more, in place of what was measured of it before.

    Operators have times in place by torch only. In a profile of another backend they are scaled
    to what that takes: they join as torch's, by what the profile says that torch takes.

    Raises:
        ProfileError: The profile is provisional, does not tell its layers, or is of another
            backend and says nothing about torch.
    """
    if profile.provisional or not profile.layers:
        raise ProfileError(
            'a profile without measured layers cannot join',
            given=profile.provisional or 'no layers',
            hint='measure the network with this version of dnn_offload',
        )
    wait = max(profile.load_ratios.get('schedstat', 1.0), 1.0)
    backend, ratio = _in_place(profile)
    newcomer = MeasuredNetwork(
        device_of(profile.device, backend, profile.threads),
        profile.model,
        profile.model_identity,
        tuple(
            _layer(layer.kind, layer.features, layer.time_ms * ratio / wait)
            for layer in profile.layers
        ),
    )
    others = (
        network for network in networks
        if (network.device, network.model_identity) != (newcomer.device, newcomer.model_identity)
    )
    return (*others, newcomer)[-MAX_NETWORKS:]


def _in_place(profile: Profile) -> tuple[str, float]:
    """The backend whose times in place a profile tells, and its whole time over the profile's."""
    if profile.backend.startswith(TORCH) and len(profile.backends) == 1:
        return profile.backend, 1.0
    for variant in profile.variants:
        if (variant.backend, variant.threads) == (TORCH, profile.threads):
            return TORCH, variant.head_ms[-1] / max(profile.whole_ms, 1e-6)
    raise ProfileError(
        'operators have no times of their own',
        given=f'backend {profile.backend}',
        allowed=f'{TORCH}, or auto with {TORCH} among what is compared',
    )


def _layer(kind: str, features: Mapping[str, float], time_ms: float) -> LayerProfile:
    return LayerProfile(kind, kind, time_ms, 0.0, (), (), 0, dict(features))


def read_own_layers(path: Path) -> tuple[MeasuredNetwork, ...]:
    """What has joined so far; nothing where there is no file yet.

    Raises:
        ProfileError: The file is damaged, too large, or of another version.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ProfileError(f'{path} is too large', allowed=f'{MAX_BYTES} bytes')
        return _parse(json.loads(path.read_text(encoding='utf-8')))
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise ProfileError(f'cannot read {path}: {error}') from error
    except MALFORMED as error:
        raise ProfileError(f'{path} is damaged', given=repr(error)) from error


def write_own_layers(path: Path, networks: Sequence[MeasuredNetwork]) -> None:
    """Write them, the oldest left out where all would be too large; no reader sees half a file."""
    kept = list(networks)
    while len(text := _text(kept).encode()) > MAX_BYTES:
        del kept[0]
    write_whole(path, text)


def _text(networks: Sequence[MeasuredNetwork]) -> str:
    rows = [
        {
            'device': dict(network.device),
            'model': network.model,
            'model_identity': network.model_identity,
            'layers': [
                [
                    layer.kind, float(f'{layer.time_ms:.5g}'),
                    *(layer.features.get(name, 0.0) for name in FEATURES),
                ]
                for layer in network.layers
            ],
        }
        for network in networks
    ]
    data = {'schema_version': SCHEMA_VERSION, 'features': list(FEATURES), 'networks': rows}
    return json.dumps(data, separators=(',', ':')) + '\n'


def _parse(data: Mapping[str, Any]) -> tuple[MeasuredNetwork, ...]:
    if data['schema_version'] != SCHEMA_VERSION or data['features'] != list(FEATURES):
        raise ProfileError(
            'measured layers have another schema',
            given=f'{data["schema_version"]}, {data["features"]}',
            allowed=f'{SCHEMA_VERSION}, {list(FEATURES)}',
        )
    if len(data['networks']) > MAX_NETWORKS:
        raise ProfileError('too many networks have joined', allowed=f'0..{MAX_NETWORKS}')
    return tuple(
        MeasuredNetwork(
            dict(item['device']), str(item['model']), str(item['model_identity']),
            _read_layers(item['layers']),
        )
        for item in data['networks']
    )


def _read_layers(rows: Sequence[Sequence[Any]]) -> tuple[LayerProfile, ...]:
    if not 0 < len(rows) <= MAX_LAYERS:
        raise ProfileError('impossible number of layers', given=len(rows))
    layers = tuple(
        _layer(
            str(kind),
            dict(zip(FEATURES, (float(value) for value in values), strict=True)),
            float(time_ms),
        )
        for kind, time_ms, *values in rows
    )
    features_of([layer.features for layer in layers])
    if not all(math.isfinite(layer.time_ms) and layer.time_ms >= 0.0 for layer in layers):
        raise ProfileError('a measured time is not a time')
    return layers
