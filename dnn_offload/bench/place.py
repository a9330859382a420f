"""A running robot and server with what a row needs to know of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from dnn_offload.bench.emulation import Emulation
from dnn_offload.cost.profile import Profile
from dnn_offload.errors import OffloadError
from dnn_offload.runtime.backends.names import AUTO
from dnn_offload.runtime.model_cache import cache_key, ModelRequest
from dnn_offload.testbed.session import Session


@dataclass(frozen=True)
class Place:
    """See above.

    Attributes:
        session: The nodes.
        emulation: Machines and link.
        request: The model.
        robot_cache, server_cache: Caches of both sides.
    """

    session: Session
    emulation: Emulation
    request: ModelRequest
    robot_cache: Path
    server_cache: Path

    def robot_profile(self) -> Profile:
        """The robot's profile, as its nodes published it."""
        profile = self.session.recorder.profile
        if profile is None:
            raise OffloadError('the robot has no profile yet')
        return profile

    def server_profile(self) -> Profile:
        """The server's profile: the one that its node asked for, of whatever others there are."""
        asked = replace(self.request, role='server', backend=AUTO)
        path = self.server_cache / cache_key(asked) / asked.profile_name
        if not path.is_file():
            raise OffloadError('the server has no profile yet', given=str(path))
        return Profile.from_json(path.read_text(encoding='utf-8'))
