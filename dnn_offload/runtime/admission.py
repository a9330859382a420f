"""Which frames a server takes: decided from a frame's first slice, before anything is kept."""

from __future__ import annotations

from collections.abc import Sequence

from dnn_offload.codec.bundle import encode_bound
from dnn_offload.codec.registry import names_for_cut
from dnn_offload.errors import RefusedError
from dnn_offload.runtime.backends.base import LoadedModel
from dnn_offload.tensors import TensorSpec


class Admission:
    """What may be sent to one model.

    Args:
        model: The model that is served.
    """

    def __init__(self, model: LoadedModel) -> None:
        # The last cut has nothing left to compute.
        self._cuts = {cut.cut_id: cut for cut in model.cuts[:-1]}
        self._result_codecs = names_for_cut(is_picture=False)

    def admit(
        self, cut_id: str, specs: Sequence[TensorSpec], codec: str, result_codec: str
    ) -> int:
        """Check what a frame says about itself.

        Returns:
            The most bytes that such a frame can have, encoded.

        Raises:
            RefusedError: It cannot be of this model.
        """
        cut = self._cuts.get(cut_id)
        if cut is None:
            raise RefusedError(
                'the model has no such cut', given=cut_id, allowed=f'{len(self._cuts)} cuts',
                hint='run the same model and version on both sides',
            )
        codecs = names_for_cut(is_picture=cut.index == 0)
        if codec not in codecs:
            raise RefusedError(
                'codec is not offered at this cut', given=codec, allowed=', '.join(codecs)
            )
        if result_codec not in self._result_codecs:
            raise RefusedError(
                'codec is not offered for answers', given=result_codec,
                allowed=', '.join(self._result_codecs),
            )
        if len(specs) != len(cut.frontier):
            raise RefusedError(
                'frame has another number of tensors than its cut', given=len(specs),
                allowed=str(len(cut.frontier)),
            )
        for given, wanted in zip(specs, cut.frontier, strict=True):
            if given != wanted:
                raise RefusedError(
                    'tensor is not the one of its cut',
                    given=f'{given.name[:40]}: {given.dtype} {given.shape} / {given.strides}',
                    allowed=f'{wanted.name}: {wanted.dtype} {wanted.shape} / {wanted.strides}',
                )
        return encode_bound(cut.frontier, codec)
