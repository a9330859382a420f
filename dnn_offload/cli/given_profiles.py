"""Profiles that a user names on the command line."""

from __future__ import annotations

import json
from pathlib import Path

from dnn_offload.cost.profile import Profile
from dnn_offload.errors import ConfigurationError, ProfileError

_HINT = 'measure one: dnn-offload profile MODEL --output FILE'


def read_profile(option: str, path: Path) -> Profile:
    """A profile from a file.

    Args:
        option: Which argument names it, e.g. ``--edge``.
        path: The file.

    Raises:
        ConfigurationError: It cannot be read.
        ProfileError: It is no profile, or a damaged one.
    """
    try:
        text = path.read_text(encoding='utf-8')
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f'profile of {option} cannot be read', given=f'{path}: {error}',
            allowed='a profile in JSON', hint=_HINT,
        ) from error
    try:
        return Profile.from_json(text)
    except ProfileError as error:
        raise ProfileError(
            f'{option} {path} is no profile that can be used: {_what_is_wrong(error)}', hint=_HINT
        ) from error


def _what_is_wrong(error: ProfileError) -> str:
    """In words what the schema's reader met: it does not know that a person chose the file."""
    cause = error.__cause__
    if cause is None:
        return str(error)
    if isinstance(cause, KeyError):
        return f'it has no {cause.args[0]}'
    if isinstance(cause, json.JSONDecodeError):
        return f'it is no JSON ({cause})'
    return f'it is not laid out as a profile ({cause})'


def check_same_model(edge: Profile, server: Profile) -> None:
    """Make sure that two profiles can be planned with together.

    Raises:
        ConfigurationError: They are of different models.
    """
    if server.model_identity != edge.model_identity:
        raise ConfigurationError(
            'the profiles are of different models',
            given=f'{server.model} ({server.model_identity[:12]})',
            allowed=f'{edge.model} ({edge.model_identity[:12]})',
            hint='profile the same model with the same weights on both sides',
        )
