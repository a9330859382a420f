"""What a link to a server tells its owner (``link.py``). Pure data."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Connected:
    """The server has accepted us and a probe came through."""


@dataclass(frozen=True)
class Lost:
    """The server was connected and is not any more."""

    reason: str
    nbytes: int


@dataclass(frozen=True)
class Rejected:
    """The server does not want us; it will be asked again later."""

    reason: str


@dataclass(frozen=True)
class Uplinked:
    """The last slice of a frame has been acknowledged; ``own_ms`` as ``Sample.duration_ms``."""

    frame_seq: int
    uplink_ms: float
    own_ms: float


@dataclass(frozen=True)
class Refused:
    """The server refused a frame, or it could not be sent."""

    frame_seq: int
    reason: str


@dataclass(frozen=True)
class Sample:
    """One measured transfer up; ``duration_ms`` is what it took once the link was its own."""

    probe: bool
    nbytes: int
    duration_ms: float


Event = Connected | Lost | Rejected | Uplinked | Refused | Sample
