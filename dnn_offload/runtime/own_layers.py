"""The layers that were measured on this machine, kept in the cache folder beside the models.

A profile that was measured joins them, a provisional profile is predicted from them
(``cost/predict/joining.py``). They are a help and nothing rests on them: what is wrong with the
file is told and stops nobody. Nothing that came over the network gets here.
"""

from __future__ import annotations

from pathlib import Path

from dnn_offload.cost.predict.joining import (
    device_of,
    joined,
    measured_on,
    OWN_LAYERS_FILE,
    read_own_layers,
    write_own_layers,
)
from dnn_offload.cost.profile import LayerProfile, Profile
from dnn_offload.errors import ProfileError
from dnn_offload.runtime.model_cache import locked, Tell
from dnn_offload.runtime.profile_machine import describe_device


def layers_measured_here(
    cache: Path, backend: str, threads: int, tell: Tell
) -> tuple[tuple[LayerProfile, ...], ...]:
    """Layers of the networks that were measured on this machine before, times without waiting.

    Args:
        cache: Folder of all cached models.
        backend: What ran them.
        threads: Compute threads that they ran with.
        tell: Gets what is wrong with the file.
    """
    try:
        networks = read_own_layers(cache / OWN_LAYERS_FILE)
    except ProfileError as error:
        tell(f'predicting without what was measured here before: {error}')
        return ()
    return measured_on(networks, device_of(describe_device(), backend, threads))


def join_layers(cache: Path, profile: Profile, tell: Tell) -> None:
    """Add what a profile has measured on this machine.

    Args:
        cache: Folder of all cached models.
        profile: As it was measured here just now.
        tell: Gets what went wrong: the file was damaged and is made anew, or cannot be written.
    """
    path = cache / OWN_LAYERS_FILE
    try:
        # Robot and server on one machine may measure at the same time.
        with locked(path.with_suffix('.lock')):
            try:
                networks = read_own_layers(path)
            except ProfileError as error:
                tell(f'layers measured here before are lost, made anew: {error}')
                networks = ()
            write_own_layers(path, joined(networks, profile))
    except (OSError, ProfileError) as error:
        tell(f'what was measured is not kept for the next network: {error}')
