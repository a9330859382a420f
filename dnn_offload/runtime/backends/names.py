"""Which backends there are, which are installed, and how a parameter names one. No torch.

``torch``, ``onnxruntime`` or ``openvino``. torch and openvino may be given a device:
``torch:cuda``, ``openvino:GPU`` (a compute stick, an NPU, an integrated GPU). ``auto`` stands for
the fastest of those that are installed, measured when the profile is.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
import re

from dnn_offload.errors import ConfigurationError

AUTO = 'auto'
TORCH = 'torch'
# Largest deviation from torch that a backend may have, relative to the largest number of a
# tensor; tested at every cut (test/test_backend_onnx.py). 0 = bit for bit.
TOLERANCES = {TORCH: 0.0, 'onnxruntime': 1e-4, 'openvino': 1e-4}
COMPILED = tuple(name for name in TOLERANCES if name != TORCH)
DEVICE_TOLERANCE = 1e-3  # of torch on another device than the CPU
# Distributions that bring them, and the oldest version that will do. An older onnxruntime holds
# the interpreter lock while it compiles (measured: 1.29.0 for 100 to 620 ms, 1.31.1 for none of
# it), and all inference would stop at every new plan.
PACKAGES = {'onnxruntime': ('onnxruntime', 'onnxruntime-gpu'), 'openvino': ('openvino',)}
OLDEST = {'onnxruntime': (1, 31), 'openvino': (2024, 0)}
_DEVICES = {
    TORCH: re.compile(r'(cuda|xpu)(:[0-9]{1,2})?\Z'),
    'openvino': re.compile(r'[A-Za-z0-9_.:,()-]{1,64}\Z'),
}
ALLOWED = (
    'auto, torch, torch:cuda, torch:cuda:NUMBER, torch:xpu, onnxruntime, openvino, or '
    'openvino:DEVICE such as openvino:GPU'
)
# Where a driver for CUDA is, one of these is: a card, a Jetson's own GPU, WSL.
CUDA_SIGNS = ('/dev/nvidia0', '/dev/nvgpu', '/dev/nvhost-gpu', '/dev/nvhost-ctrl-gpu', '/dev/dxg')


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
    allowed = _DEVICES.get(kind)
    if kind not in TOLERANCES or (colon and not (allowed and allowed.match(device))):
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


def tolerance(name: BackendName) -> float:
    """Largest deviation from torch on the CPU that a backend may have."""
    return DEVICE_TOLERANCE if name.kind == TORCH and name.device else TOLERANCES[name.kind]


def version(kind: str) -> tuple[str, str]:
    """The distribution that brings a backend other than torch, and its version; '' = none."""
    for package in PACKAGES[kind]:
        try:
            return package, metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return '', ''


def missing(kind: str) -> str:
    """Why a backend cannot be used here, and what to do; '' if it can. Nothing is imported."""
    if kind == TORCH:
        return ''
    oldest = '.'.join(str(number) for number in OLDEST[kind])
    cure = f"python -m pip install 'dnn_offload[{kind}]'"
    package, found = version(kind)
    if not package:
        return f'{kind} is not installed; {cure}'
    if tuple(int(number) for number in re.findall(r'\d+', found)[:2]) >= OLDEST[kind]:
        return ''
    return f'{package} {found} is too old, {oldest} or newer will do; {cure}'


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
        cuda = ('torch:cuda',) if any(Path(sign).exists() for sign in CUDA_SIGNS) else ()
        return (TORCH, *(kind for kind in COMPILED if not missing(kind)), *cuda), ''
    wanted = parse(text)
    if str(wanted) == TORCH:
        return (TORCH,), ''
    reason = missing(wanted.kind)
    if reason:
        return (TORCH,), f'torch is used instead of {wanted}: {reason}'
    return (TORCH, str(wanted)), ''
