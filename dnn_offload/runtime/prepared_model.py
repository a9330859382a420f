"""Loading a prepared model, and making sure that it is what it says it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from dnn_offload.cost.profile import Profile
from dnn_offload.errors import ConfigurationError, ModelError
from dnn_offload.graph.fingerprint import (
    agree,
    distance,
    sample,
    sampled_cut,
    seeded_inputs,
)
from dnn_offload.graph.program import Program
from dnn_offload.graph.task import describe
from dnn_offload.runtime.backends.by_piece import PieceModel
from dnn_offload.runtime.backends.load import load
from dnn_offload.runtime.backends.names import ALL, AUTO, usable
from dnn_offload.runtime.backends.torch_backend import TorchModel
from dnn_offload.runtime.model_cache import is_of
from dnn_offload.vision.answers import DECODED_TASKS


@dataclass(frozen=True)
class PreparedModel:
    """A model that has computed its fingerprint on this machine, with its profile.

    Attributes:
        model: The model, warm.
        profile: What its pieces cost here.
        profile_json: The same for others, compact.
        threads: Compute threads that the profile holds for.
        fingerprint: What it makes of the seeded picture, computed just now.
    """

    model: TorchModel
    profile: Profile
    profile_json: str
    threads: int
    fingerprint: tuple[float, ...]


def load_prepared_model(
    folder: Path, profile_path: Path, threads: int, *, backend: str = AUTO,
    log: Callable[[str], None] = lambda text: None,
) -> PreparedModel:
    """Load, run once on the seeded picture, compare with what the export has computed.

    Args:
        folder: What ``prepare.py`` saved.
        profile_path: Its profile.
        threads: Compute threads.
        backend: What shall run it; ``auto`` and ``all`` = what the profile is of.
        log: Gets what must be run by torch instead, and why; from any thread, later as well.

    Raises:
        ConfigurationError: No node can run this network, however it is prepared.
        ModelError: The files cannot be read, or are not those that were exported.
        ProfileError: The profile is damaged.
    """
    program = Program.load(folder)
    if not program.takes_picture or program.task not in DECODED_TASKS:
        raise ConfigurationError(
            'the nodes cannot run this network',
            given=f'{len(program.inputs)} input(s), the first {program.input.dtype} '
            f'{program.input.shape}; task {program.task}, outputs '
            + describe(program.outputs),
            allowed=f'one camera picture; {", ".join(DECODED_TASKS)}',
            hint='it can be cut, profiled and planned by dnn-offload on the command line; what '
            'the nodes show is in docs/your-own-network.md',
        )
    profile, profile_json = _read_profile(profile_path, program)
    wanted, missing = _to_load(profile, backend)
    if missing:
        log(missing)
    model = load(folder, wanted, threads=threads, log=log)
    if isinstance(model, PieceModel):
        model.choose(profile)
    if model.backend != profile.backend:
        log(f'the profile holds for {profile.backend}, the network runs by {model.backend}')
    fingerprint = fingerprint_of(model)
    if not agree(fingerprint, program.fingerprint):
        raise ModelError(
            'the prepared model does not compute what it did when it was exported',
            given=f'relative difference {distance(fingerprint, program.fingerprint):.2g}',
            hint=f'delete {folder} and start again',
        )
    return PreparedModel(model, profile, profile_json, threads, fingerprint)


def fingerprint_of(model: TorchModel) -> tuple[float, ...]:
    """Run the whole network on the seeded inputs; a sample of what tells it from others."""
    program = model.program
    inputs, last = seeded_inputs(program.inputs), len(program.cuts) - 1
    outputs = model.run(model.segment(0, last), inputs)
    at = sampled_cut(program)
    if at != last:
        outputs = model.run(model.segment(0, at), inputs)
    return sample(outputs)


def load_measured(
    prepared: PreparedModel, folder: Path, profile_path: Path, *, backend: str = AUTO,
    log: Callable[[str], None] = lambda text: None,
) -> PreparedModel:
    """The same network with the profile that replaces a provisional one.

    Args:
        prepared: What runs now; stays as it is.
        folder: What ``prepare.py`` saved.
        profile_path: The measured profile.
        backend: As for ``load_prepared_model``.
        log: As for ``load_prepared_model``.

    Returns:
        The model that runs, with the profile; another one, of as many threads, where the profile
        is of another backend.

    Raises:
        ModelError: The profile cannot be read, or is of another model; the files are damaged.
        ProfileError: The profile is damaged.
    """
    profile, profile_json = _read_profile(profile_path, prepared.model.program)
    if _to_load(profile, backend)[0] == prepared.model.backend:
        return replace(prepared, profile=profile, profile_json=profile_json)
    return load_prepared_model(
        folder, profile_path, prepared.threads, backend=backend, log=log
    )


def _to_load(profile: Profile, backend: str) -> tuple[str, str]:
    """What runs a network of this profile, and what is missing of what was wanted."""
    return usable(profile.backend if backend in (AUTO, ALL) else backend)


def _read_profile(path: Path, program: Program) -> tuple[Profile, str]:
    """A profile of this network, and the same for others, compact."""
    try:
        profile = Profile.from_json(path.read_text(encoding='utf-8'))
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError('profile cannot be read', given=str(path)) from error
    if not is_of(profile, program):
        raise ModelError(
            'the profile is of another network',
            given=f'{profile.model_identity[:12]}, {len(profile.cuts)} cuts',
            allowed=f'{program.identity[:12]}, {len(program.cuts)} cuts',
            hint=f'delete {path} and start again',
        )
    return profile, profile.to_json(indent=None)
