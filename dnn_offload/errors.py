"""The errors of dnn_offload: one small family, each message with its cure.

A message says what failed, what was given, what is allowed and what to do next.
"""

from __future__ import annotations

import re

# What taking the values of a damaged JSON or YAML file apart may raise.
MALFORMED = (
    AttributeError, KeyError, OverflowError, RecursionError, TypeError, ValueError,
)


def without_password(url: str) -> str:
    """Credentials do not belong into messages and logs.

    Those before the host (the last @ ends them, as for FFmpeg), and what is called a password
    behind it, as cheap cameras have it.
    """
    url = re.sub(r'//[^/?#]*@', '//', url)
    return re.sub(r'(?i)\b(passw(?:or)?d|pwd|pass)=[^&/?#\s]*', r'\1=', url)


class OffloadError(Exception):
    """Base of all errors that this package raises on purpose.

    Args:
        what: What failed, one sentence without a full stop.
        given: The offending value, shown by ``repr`` and shortened.
        allowed: What would have been accepted, in words; empty = nothing is said.
        hint: What to do next, e.g. a command to run; empty = nothing is said.
    """

    def __init__(
        self,
        what: str,
        *,
        given: object = None,
        allowed: str | None = None,
        hint: str | None = None,
    ) -> None:
        parts = [what]
        if given is not None:
            text = given if isinstance(given, str) and given else repr(given)
            parts.append(f'given: {text[:200]}')
        if allowed:
            parts.append(f'allowed: {allowed}')
        if hint:
            parts.append(hint)
        super().__init__('; '.join(parts))
        self.what = what


class ConfigurationError(OffloadError):
    """A parameter or a command-line argument is not acceptable."""


class ModelError(OffloadError):
    """A model cannot be found, loaded, exported or matched."""


class CutError(OffloadError):
    """A cut does not exist, or tensors at a cut are not what it declares."""


class CodecError(OffloadError):
    """Bytes cannot be decoded, or tensors cannot be encoded."""


class RefusedError(OffloadError):
    """A message from the network is refused; nothing else is affected."""


class ProfileError(OffloadError):
    """A profile is missing, damaged, or of another model."""


class PlanningError(OffloadError):
    """No plan satisfies the constraints, or a strategy lacks what it needs."""


class ImageError(OffloadError):
    """A picture or a picture source cannot be read."""
