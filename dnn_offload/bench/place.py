"""A running robot and server with what a row needs to know of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dnn_offload.bench.emulation import Emulation
from dnn_offload.cost.profile import Profile
from dnn_offload.errors import OffloadError
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
        """The server's profile: the newest one of its cache."""
        folder = self.server_cache / cache_key(self.request)
        pattern = f'profile_server_*_{self.request.threads}t.json'
        found = sorted(folder.glob(pattern), key=lambda path: path.stat().st_mtime)
        if not found:
            raise OffloadError('the server has no profile yet', given=str(folder))
        return Profile.from_json(found[-1].read_text(encoding='utf-8'))
