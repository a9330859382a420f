"""Our data to ROS messages and back: tensors, slices, pictures.

Byte fields are filled from ``array.array('B')``: from an ndarray or bytes the generated setter
walks over every element (56 ms/MB). They are read by ``np.frombuffer`` without a copy.
"""

from __future__ import annotations

import array
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CompressedImage, Image

from dnn_offload.errors import CutError, ImageError, RefusedError
from dnn_offload.exchange import Answer, Verdict
from dnn_offload.msg import TensorChunk, TensorMeta, TensorResult
from dnn_offload.tensors import DLPACK_CODES, DTYPE_OF_DLPACK, TensorSpec
from dnn_offload.transport.answers import OutgoingAnswer
from dnn_offload.transport.reassembly import SliceHeader

MAX_REASON = 400

_STATUS = {
    Verdict.OK: TensorResult.STATUS_OK,
    Verdict.SUPERSEDED: TensorResult.STATUS_SUPERSEDED,
    Verdict.REFUSED: TensorResult.STATUS_REFUSED,
}


def byte_array(data: bytes | bytearray | memoryview) -> array.array[int]:
    """Bytes in the form that message fields take quickly; one copy."""
    result: array.array[int] = array.array('B')
    result.frombytes(data)
    return result


def read_message(serialised: bytes, message_type: type) -> Any:
    """Deserialise what came from the network.

    Subscriptions to what strangers send are raw: what cannot be read is refused here and told,
    where the middleware throws it away at best.

    Raises:
        RefusedError: The bytes are no such message.
    """
    try:
        return deserialize_message(serialised, message_type)
    except Exception as error:  # the extension module raises several types, all meaning this
        raise RefusedError(
            f'message is no {message_type.__name__}', given=f'{len(serialised)} bytes'
        ) from error


def stamp_of(message: Any) -> float:
    """The stamp in the header of a message [s]."""
    stamp = message.header.stamp
    return float(stamp.sec + stamp.nanosec / 1e9)


def meta_of(spec: TensorSpec) -> TensorMeta:
    """Describe a tensor on the wire."""
    code, bits = DLPACK_CODES[spec.dtype]
    meta = TensorMeta()
    meta.name = spec.name[:128]
    meta.dtype_code = code
    meta.dtype_bits = bits
    meta.dtype_lanes = 1
    meta.shape = list(spec.shape)
    meta.strides = list(spec.strides)
    return meta


def spec_of(meta: TensorMeta) -> TensorSpec:
    """Read a tensor's description.

    Raises:
        RefusedError: It describes nothing that this package sends.
    """
    dtype = DTYPE_OF_DLPACK.get((meta.dtype_code, meta.dtype_bits))
    if dtype is None or meta.dtype_lanes != 1:
        raise RefusedError(
            'tensor has an unknown type',
            given=f'code {meta.dtype_code}, {meta.dtype_bits} bits, {meta.dtype_lanes} lanes',
            allowed=', '.join(DLPACK_CODES),
        )
    if any(extent < 0 for extent in meta.shape):
        raise RefusedError('tensor has a negative extent', given=str(list(meta.shape)))
    try:
        return TensorSpec(meta.name, dtype, tuple(meta.shape), tuple(meta.strides))
    except CutError as error:
        raise RefusedError(str(error)) from error


def specs_of(metas: Sequence[TensorMeta]) -> tuple[TensorSpec, ...]:
    """Read the descriptions of a frontier."""
    return tuple(spec_of(meta) for meta in metas)


def header_of(message: TensorChunk) -> SliceHeader:
    """Read what a slice says about itself."""
    return SliceHeader(
        frame_seq=message.frame_seq,
        plan_epoch=message.plan_epoch,
        cut_id=message.cut,
        codec=message.codec,
        result_codec=message.result_codec,
        chunk_index=message.chunk_index,
        chunk_count=message.chunk_count,
        total_bytes=message.total_bytes,
        budget_ms=message.budget_ms,
        return_id=message.return_cut,
    )


def answer_header_of(message: TensorResult) -> SliceHeader:
    """Read what a slice of an answer says about itself."""
    return SliceHeader(
        frame_seq=message.frame_seq,
        plan_epoch=message.plan_epoch,
        cut_id='',
        codec=message.codec,
        result_codec='',
        chunk_index=message.chunk_index,
        chunk_count=message.chunk_count,
        total_bytes=message.total_bytes,
    )


def answer_of(
    message: TensorResult, payload: bytes | bytearray, acked_s: float, uplink_ms: float,
    now_s: float,
) -> Answer:
    """An answer that is complete, with times that can be.

    Args:
        message: Its last slice.
        payload: All its bytes.
        acked_s: When the frame's last slice was acknowledged, our monotonic clock [s].
        uplink_ms: From the frame's first slice until then [ms].
        now_s: The same clock now [s].
    """
    since_ack_ms = 1e3 * (now_s - acked_s)

    def checked(claimed_ms: float) -> float:
        """No longer than since the frame's first slice went; 0 for what is no time at all."""
        return min(claimed_ms, uplink_ms + since_ack_ms) if claimed_ms >= 0.0 else 0.0

    service_ms = checked(message.service_ms)
    return Answer(
        frame_seq=message.frame_seq,
        payload=payload,
        codec=message.codec,
        queue_ms=checked(message.queue_ms),
        decode_ms=checked(message.decode_ms),
        compute_ms=checked(message.compute_ms),
        encode_ms=checked(message.encode_ms),
        stood_in=message.stood_in,
        service_ms=service_ms,
        uplink_ms=uplink_ms,
        downlink_ms=max(since_ack_ms - service_ms, 0.0),
    )


def fill_answer(message: TensorResult, answer: OutgoingAnswer, index: int) -> None:
    """Put a slice of an answer into its message."""
    result, job = answer.result, answer.result.job
    message.status = _STATUS[result.verdict]
    message.plan_epoch = job.plan_epoch
    message.reason = result.reason[:MAX_REASON]
    message.queue_ms = result.queue_ms
    message.decode_ms = result.decode_ms
    message.compute_ms = result.compute_ms
    message.encode_ms = result.encode_ms
    message.service_ms = answer.service_ms
    message.chunk_index = index
    message.chunk_count = len(answer.parts)
    message.total_bytes = sum(len(part) for part in answer.parts)
    message.data = byte_array(answer.parts[index])
    message.stood_in = result.stood_in
    if result.verdict is Verdict.OK:
        message.codec = job.result_codec
        if index == 0:
            message.tensors = [meta_of(spec) for spec in result.specs]


def image_of(rgb: np.ndarray, header: Any) -> Image:
    """A picture (H, W, 3), uint8, RGB, as a message with a copy of nothing but its bytes."""
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8:
        raise ImageError(
            'not an RGB picture', given=f'{rgb.dtype} {rgb.shape}', allowed='uint8 (H, W, 3)'
        )
    return _image(np.ascontiguousarray(rgb), 'rgb8', header)


def jpeg_image(bgr: np.ndarray, header: Any, encoding: str, quality: int) -> CompressedImage:
    """A picture as a JPEG message.

    Args:
        bgr: (H, W, 3), uint8, blue first.
        header: Of the picture.
        encoding: Of the raw picture beside it, ``bgr8`` or ``rgb8``: receivers bring it to that.
        quality: Of the JPEG, 1 to 100.

    Raises:
        ImageError: It cannot be encoded.
    """
    done, data = cv2.imencode('.jpg', bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise ImageError('a picture cannot be encoded as JPEG', given=f'{bgr.dtype} {bgr.shape}')
    # The format string that image_transport's compressed plugin writes and reads.
    message = CompressedImage(header=header, format=f'{encoding}; jpeg compressed bgr8')
    message.data = byte_array(data.data)
    return message


def mask_image(mask: np.ndarray, header: Any) -> Image:
    """A mask (H, W), uint8, one class a pixel, as a message of encoding ``mono8``."""
    if mask.ndim != 2 or mask.dtype != np.uint8:
        raise ImageError(
            'not a mask', given=f'{mask.dtype} {mask.shape}', allowed='uint8 (H, W)'
        )
    return _image(np.ascontiguousarray(mask), 'mono8', header)


def _image(picture: np.ndarray, encoding: str, header: Any) -> Image:
    message = Image()
    message.header = header
    message.height, message.width = picture.shape[:2]
    message.encoding = encoding
    message.is_bigendian = 0
    message.step = picture.strides[0]
    message.data = byte_array(picture.data.cast('B'))
    return message
