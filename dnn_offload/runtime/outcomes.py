"""How a frame ends: the closed vocabularies of ``msg/FrameReport.msg``, with its numbers."""

from __future__ import annotations

from enum import IntEnum


class Outcome(IntEnum):
    """The one end that every frame has."""

    REMOTE = 0  # answered by the server
    LOCAL = 1  # planned on the robot
    RESCUED = 2  # no answer in time: finished on the robot from the kept cut tensors
    DROPPED = 3  # no result; a DropReason says why


class DropReason(IntEnum):
    """Why a dropped frame has no result."""

    NONE = 0
    SUPERSEDED = 1  # a newer picture came before this one was started
    SUPERSEDED_AT_SERVER = 2  # a newer frame took its place in the server's queue
    NO_ANSWER = 3  # no answer, and a newer frame was rescued or published instead
    CANNOT_RESCUE = 4  # no answer, and the local tail does not fit
    BAD_IMAGE = 5  # the picture could not be read, or its stamp is not newer
    ERROR = 6  # an error, logged
    SHUTDOWN = 7  # the engine was stopped
