"""Which backends there are, which are installed, and how a parameter names one. No torch.

``torch``, ``onnxruntime`` or ``openvino``. torch and openvino may be given a device:
``torch:cuda``, ``openvino:GPU`` (a compute stick, an NPU, an integrated GPU). ``auto`` stands for
the fastest of those that are installed, measured when the profile is. Several joined by ``+``, or
``all`` that are installed, run each piece of a network by whichever was measured fastest there.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
import re

from dnn_offload.cost.profile import JOINT
from dnn_offload.errors import ConfigurationError

AUTO = 'auto'
ALL = 'all'
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
    'auto, all, torch, torch:cuda, torch:cuda:NUMBER, torch:xpu, onnxruntime, openvino, '
    'openvino:DEVICE such as openvino:GPU, or several of them such as onnxruntime+openvino'
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
    """Read ``KIND`` or ``KIND:DEVICE``; ``auto``, ``all`` and several joined are none.

    Raises:
        ConfigurationError: It is something else.
    """
    kind, colon, device = text.partition(':')
    allowed = _DEVICES.get(kind)
    if kind not in TOLERANCES or (colon and not (allowed and allowed.match(device))):
        raise ConfigurationError('no such backend', given=text, allowed=ALLOWED)
    return BackendName(kind, device)


def parts(text: str) -> tuple[str, ...]:
    """The backends that a text names: one, or several joined; ``auto`` and ``all`` are none.

    Raises:
        ConfigurationError: One of them there is not, or is named twice.
    """
    found = tuple(str(parse(part)) for part in text.split(JOINT))
    if len(set(found)) < len(found):
        raise ConfigurationError('a backend is named twice', given=text, allowed=ALLOWED)
    return found


def by_piece(text: str) -> bool:
    """Whether each piece shall run by the fastest, instead of all by one backend."""
    return text == ALL or JOINT in text


def check(text: str) -> str:
    """What is allowed, if a parameter's text is not; '' if it is."""
    if text in (AUTO, ALL):
        return ''
    try:
        parts(text)
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
        text: ``auto``, ``all``, or what is wanted.

    Returns:
        Names, and '' or why a wanted one is not among them.

    Raises:
        ConfigurationError: There is no such backend.
    """
    if text in (AUTO, ALL):
        cuda = ('torch:cuda',) if any(Path(sign).exists() for sign in CUDA_SIGNS) else ()
        return (TORCH, *(kind for kind in COMPILED if not missing(kind)), *cuda), ''
    wanted = [part for part in parts(text) if part != TORCH]
    reasons = {part: missing(parse(part).kind) for part in wanted}
    there = (part for part in wanted if not reasons[part])
    why = '; '.join(
        f'torch is used instead of {part}: {reason}' for part, reason in reasons.items() if reason
    )
    return (TORCH, *there), why


def usable(text: str) -> tuple[str, str]:
    """What can be loaded of what is wanted (not ``auto`` or ``all``), and what is missing of it.

    Raises:
        ConfigurationError: There is no such backend.
    """
    names, missing_ones = candidates(text)
    there = [part for part in parts(text) if part in names]
    return JOINT.join(there) or TORCH, missing_ones
