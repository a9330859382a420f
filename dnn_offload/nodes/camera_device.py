"""A V4L2 camera: what it was asked for, what it gives instead, why it cannot be opened. No ROS."""

from __future__ import annotations

from dataclasses import dataclass
import glob
import math
import os

import cv2

RATE_TOLERANCE = 0.05  # 29.97 Hz is 30 Hz


@dataclass(frozen=True)
class DeviceMode:
    """What a camera delivers; what is 0 or empty is not known, or not asked for."""

    width: int = 0
    height: int = 0
    pixel_format: str = ''
    rate_hz: float = 0.0

    def __str__(self) -> str:
        parts = [f'{self.width}x{self.height}'] if self.width and self.height else []
        parts += [self.pixel_format] if self.pixel_format else []
        parts += [f'{self.rate_hz:g} Hz'] if self.rate_hz > 0.0 else []
        return ' '.join(parts)


def negotiate(capture: cv2.VideoCapture, asked: DeviceMode) -> DeviceMode:
    """Ask a camera for a mode, and read the one that it takes."""
    if asked.pixel_format:
        capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*asked.pixel_format))
    if asked.width and asked.height:
        capture.set(cv2.CAP_PROP_FRAME_WIDTH, asked.width)
        capture.set(cv2.CAP_PROP_FRAME_HEIGHT, asked.height)
    if asked.rate_hz > 0.0:
        capture.set(cv2.CAP_PROP_FPS, asked.rate_hz)
    # Two buffers: fewer old pictures wait in the driver. Not every driver listens.
    capture.set(cv2.CAP_PROP_BUFFERSIZE, 2)
    width, height, code, rate_hz = (
        float(capture.get(key)) for key in (
            cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT, cv2.CAP_PROP_FOURCC,
            cv2.CAP_PROP_FPS,
        )
    )
    return DeviceMode(
        _whole(width), _whole(height), _letters(_whole(code)),
        rate_hz if 0.0 < rate_hz <= 1000.0 else 0.0,  # also refuses NaN
    )


def difference(asked: DeviceMode, got: DeviceMode) -> str:
    """What a camera gives instead of what it was asked for, in words; '' if it gives that.

    A camera that is faster is no difference: its pictures are thinned out.
    """
    wanted = DeviceMode(
        *((asked.width, asked.height) if asked.width and asked.height
          and (asked.width, asked.height) != (got.width, got.height) else (0, 0)),
        asked.pixel_format if asked.pixel_format != got.pixel_format else '',
        asked.rate_hz if got.rate_hz < (1.0 - RATE_TOLERANCE) * asked.rate_hz else 0.0,
    )
    if wanted == DeviceMode():
        return ''
    resized = '; its pictures are resized' if wanted.width else ''
    return (
        f'the camera gives {str(got) or "an unknown mode"} where {wanted} was asked for{resized}; '
        'v4l2-ctl --list-formats-ex tells what it can do'
    )


def device_path(device: str) -> str:
    """Path of a device that is named by its index or by its path."""
    return f'/dev/video{device}' if device.isdigit() else device


def why_out_of_reach(device: str) -> str:
    """Why there is no use in opening a device, and what to do about it; '' = try it.

    Args:
        device: Index or path.
    """
    path = device_path(device)
    if not os.path.exists(path):
        others = ', '.join(sorted(glob.glob('/dev/video*'))) or 'none'
        return (
            f'there is no {path} (here: {others}): is it plugged in? A name below '
            '/dev/v4l/by-id stays the same when it is plugged in anew'
        )
    if not os.access(path, os.R_OK | os.W_OK):
        return f'this user may not use {path}: sudo usermod -aG video $USER, and log in again'
    return ''


def why_not_opened(device: str) -> str:
    """The likely reason why a device within reach was not opened, and what to do about it.

    Args:
        device: Index or path.
    """
    path = device_path(device)
    # It may have gone meanwhile.
    return why_out_of_reach(device) or (
        f'is {path} in use (fuser -v {path})? One camera often has two devices, only the first '
        'gives pictures; a camera on the CSI connector needs camera_ros (docs/cameras.md)'
    )


def _whole(value: float) -> int:
    return int(value) if math.isfinite(value) and 0.0 < value < 1 << 32 else 0


def _letters(code: int) -> str:
    text = ''.join(chr(code >> shift & 0xFF) for shift in (0, 8, 16, 24)) if code else ''
    return text if text.isprintable() else ''
