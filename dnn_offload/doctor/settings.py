"""What the user asks the doctor about."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

DEFAULT_MODEL = 'demo:detector'


@dataclass(frozen=True)
class Settings:
    """See ``dnn-offload doctor --help``.

    Attributes:
        model: Model source; '' = that of a server that is found, else of a robot, else the
            detector.
        weights, allow_code, input_size: Of the model.
        cache: Folder of exported networks and profiles.
        camera: Picture source; '' = the first camera, if there is one.
        namespace: Namespace of the robot whose profile counts; '' = the first one that is found.
        rendezvous: Absolute namespace in which robots and servers meet.
        listen_s: How long to listen for peers [s].
        patience: Factor on all time limits, for slow machines [1].
    """

    model: str = ''
    weights: str = 'DEFAULT'
    allow_code: bool = False
    input_size: str = ''
    cache: Path = Path('~/.cache/dnn_offload')
    camera: str = ''
    namespace: str = ''
    rendezvous: str = '/dnn_offload'
    listen_s: float = 5.0
    patience: float = 1.0

    def limit_s(self, seconds: float) -> float:
        """A time limit on this machine [s]."""
        return seconds * self.patience
