"""Which backends there are, which are installed, and how a parameter names one. No torch.

``torch``, ``onnxruntime`` or ``openvino``; openvino may be given a device, ``openvino:GPU``
(a compute stick, an NPU, an integrated GPU), torch likewise ``torch:cuda``. ``auto`` stands for
the fastest of those that are installed, measured when the profile is.
"""

from __future__ import annotations

from dataclasses import dataclass
import importlib.util
import re

from dnn_offload.errors import ConfigurationError

AUTO = 'auto'
TORCH = 'torch'
# Largest deviation from torch that a backend may have, relative to the largest number of a
# tensor; tested at every cut (test/test_backend_onnx.py). 0 = bit for bit.
TOLERANCES = {TORCH: 0.0, 'onnxruntime': 1e-4, 'openvino': 1e-4}
COMPILED = tuple(name for name in TOLERANCES if name != TORCH)
PACKAGES = {'onnxruntime': 'onnxruntime', 'openvino': 'openvino'}
_DEVICE = re.compile(r'[A-Za-z0-9_.:,()-]{1,64}\Z')
ALLOWED = 'auto, torch, onnxruntime, openvino, or openvino:DEVICE such as openvino:GPU'


@dataclass(frozen=True)
class BackendName:
    """A backend and the device that it shall use; '' = the CPU."""

    kind: str
    device: str = ''

    def __str__(self) -> str:
        return f'{self.kind}:{self.device}' if self.device else self.kind


def parse(text: str) -> BackendName:
    """Read ``KIND`` or ``KIND:DEVICE``; ``auto`` is none.

    Raises:
        ConfigurationError: It is something else.
    """
    kind, colon, device = text.partition(':')
    takes_device = kind == 'openvino'
    if kind not in TOLERANCES or (colon and not (takes_device and _DEVICE.match(device))):
        raise ConfigurationError('no such backend', given=text, allowed=ALLOWED)
    return BackendName(kind, device)


def check(text: str) -> str:
    """What is allowed, if a parameter's text is not; '' if it is."""
    if text == AUTO:
        return ''
    try:
        parse(text)
    except ConfigurationError:
        return ALLOWED
    return ''


def is_installed(kind: str) -> bool:
    """Whether a backend's package is there; nothing is imported."""
    package = PACKAGES.get(kind)
    return package is None or importlib.util.find_spec(package) is not None


def candidates(text: str) -> tuple[tuple[str, ...], str]:
    """Backends to choose from, torch first, and a word on what is missing.

    Args:
        text: ``auto``, or the backend that is wanted.

    Returns:
        Names, and '' or why the wanted one is not among them.

    Raises:
        ConfigurationError: There is no such backend.
    """
    if text == AUTO:
        return (TORCH, *(kind for kind in COMPILED if is_installed(kind))), ''
    wanted = parse(text)
    if wanted.kind == TORCH:
        return (str(wanted),), ''
    if not is_installed(wanted.kind):
        return (TORCH,), (
            f'backend {wanted} is not installed, torch is used; '
            f"python -m pip install 'dnn_offload[{wanted.kind}]'"
        )
    return (TORCH, str(wanted)), ''
