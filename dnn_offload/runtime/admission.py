"""Which frames a server takes: decided from a frame's first slice, before anything is kept."""

from __future__ import annotations

from collections.abc import Sequence

from dnn_offload.codec.bundle import encode_bound
from dnn_offload.codec.registry import names_for_answers, names_for_cut
from dnn_offload.errors import CutError, RefusedError
from dnn_offload.exchange import MAX_ANSWER_BYTES
from dnn_offload.runtime.backends.base import LoadedModel
from dnn_offload.runtime.server_part import ServerParts
from dnn_offload.tensors import TensorSpec


class Admission:
    """What may be sent to one model.

    Args:
        model: The model that is served.
    """

    def __init__(self, model: LoadedModel) -> None:
        self._parts = ServerParts(model)
        self._cut_count = len(model.cuts) - 1  # the last one leaves a server nothing
        self._result_codecs = names_for_answers()

    def admit(
        self,
        cut_id: str,
        specs: Sequence[TensorSpec],
        codec: str,
        result_codec: str,
        return_id: str = '',
    ) -> int:
        """Check what a frame says about itself.

        Returns:
            The most bytes that such a frame can have, encoded.

        Raises:
            RefusedError: It cannot be of this model.
        """
        try:
            part = self._parts.find(cut_id, return_id, [spec.name for spec in specs])
        except CutError as error:
            raise RefusedError(
                'the model has no such cut', given=f'{cut_id} {return_id}: {error}',
                allowed=f'{self._cut_count} cuts',
                hint='run the same model and version on both sides',
            ) from error
        codecs = names_for_cut(part.is_picture)
        if codec not in codecs:
            raise RefusedError(
                'codec is not offered at this cut', given=codec, allowed=', '.join(codecs)
            )
        if result_codec not in self._result_codecs:
            raise RefusedError(
                'codec is not offered for answers', given=result_codec,
                allowed=', '.join(self._result_codecs),
            )
        if len(specs) != len(part.inputs):
            raise RefusedError(
                'frame has another number of tensors than its cut', given=len(specs),
                allowed=str(len(part.inputs)),
            )
        for given, wanted in zip(specs, part.inputs, strict=True):
            if given != wanted:
                raise RefusedError(
                    'tensor is not the one of its cut',
                    given=f'{given.name[:40]}: {given.dtype} {given.shape} / {given.strides}',
                    allowed=f'{wanted.name}: {wanted.dtype} {wanted.shape} / {wanted.strides}',
                )
        answer_bytes = encode_bound(part.outputs, result_codec)
        if answer_bytes > MAX_ANSWER_BYTES:
            raise RefusedError(
                'the answer would be too large', given=f'{answer_bytes} bytes',
                allowed=f'{MAX_ANSWER_BYTES}', hint='let the server go on to a smaller cut',
            )
        return encode_bound(part.inputs, codec)
