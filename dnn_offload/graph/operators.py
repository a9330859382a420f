"""Which ATen operators a program may hold, and what a cut needs to know about each. No torch.

A program read from disk is data, not code: it may only name operators of this list. All are
functional (no in-place or ``out=`` forms), deterministic, and compute tensors from tensors;
operators that read files, draw random numbers or return uninitialised memory are absent.
"""

from __future__ import annotations

import re

from dnn_offload.errors import ModelError

_TARGET = re.compile(r'aten\.([a-z0-9_]{1,64})\.([A-Za-z0-9_]{1,32})\Z')

# Result shares the memory of the input.
VIEWS = frozenset(
    """
    alias chunk detach diagonal expand flatten lift_fresh_copy meshgrid movedim narrow permute
    reshape select slice split split_with_sizes squeeze swapaxes t transpose unbind unflatten
    unsqueeze view _unsafe_view
    """.split()
)

# One cheap pass over the elements: activations, arithmetic, moving elements about.
ELEMENTWISE = frozenset(
    """
    _to_copy abs acos add addcdiv addcmul asin atan atan2 bitwise_and bitwise_not bitwise_or
    bitwise_xor cat celu ceil clamp clamp_max clamp_min clone constant_pad_nd contiguous copy cos
    cosh diff div dropout elu eq erf erfc exp exp2 expm1 flip floor floor_divide fmod gather ge
    gelu glu gt hardshrink hardsigmoid hardswish hardtanh index index_select isfinite isinf isnan
    le leaky_relu lerp log log10 log1p log2 log_sigmoid logical_and logical_not logical_or
    logical_xor lt masked_fill maximum minimum mish mul nan_to_num ne neg pad pixel_shuffle
    pixel_unshuffle pow prelu reciprocal relu relu6 remainder repeat repeat_interleave roll round
    rsqrt rsub select_scatter selu sgn sigmoid sign silu sin sinh slice_scatter softplus softshrink
    sqrt square stack sub tan tanh threshold to tril triu trunc upsample_nearest1d
    upsample_nearest2d upsample_nearest3d _upsample_nearest_exact2d where
    """.split()
)

# Operators that carry weights: the layers that ``depth`` counts.
WEIGHTED = frozenset(
    """
    addbmm addmm addmv baddbmm bilinear bmm conv1d conv2d conv3d conv_transpose1d conv_transpose2d
    conv_transpose3d convolution einsum gru gru_cell linear lstm lstm_cell matmul mm mv
    rnn_relu rnn_relu_cell rnn_tanh rnn_tanh_cell
    """.split()
)

_OTHER = frozenset(
    """
    _adaptive_avg_pool2d _adaptive_avg_pool3d _log_softmax _native_batch_norm_legit_no_training
    _softmax _upsample_bilinear2d_aa adaptive_avg_pool1d adaptive_avg_pool2d
    adaptive_avg_pool3d adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d all amax
    amin aminmax any argmax argmin argsort avg_pool1d avg_pool2d avg_pool3d batch_norm cdist
    channel_shuffle col2im cosine_similarity count_nonzero cummax cummin cumprod cumsum dot
    embedding grid_sampler group_norm im2col instance_norm layer_norm linalg_norm
    linalg_vector_norm log_softmax logsumexp max max_pool1d max_pool1d_with_indices max_pool2d
    max_pool2d_with_indices max_pool3d max_pool3d_with_indices mean median min
    native_group_norm native_layer_norm prod rms_norm scaled_dot_product_attention softmax sort
    std sum topk unfold upsample_bicubic2d upsample_bilinear2d upsample_linear1d
    upsample_trilinear3d var var_mean
    """.split()
)

ALLOWED = VIEWS | ELEMENTWISE | WEIGHTED | _OTHER

# Results that depend on nothing but static shapes: evaluated at export, never in a program.
CREATION = frozenset(
    """
    arange empty_like eye fill full full_like linspace new_empty new_full new_ones new_zeros
    ones ones_like scalar_tensor tril_indices triu_indices zero zeros zeros_like
    """.split()
)

# Of those: they look at the shape and type of their first argument, never at its numbers.
LIKE = frozenset(
    'empty_like fill full_like new_empty new_full new_ones new_zeros ones_like zero '
    'zeros_like'.split()
)


def base_name(target: str) -> str:
    """The operator without namespace and overload: ``'aten.add.Tensor'`` -> ``'add'``.

    Raises:
        ModelError: ``target`` is not of the form ``aten.NAME.OVERLOAD``.
    """
    match = _TARGET.match(target)
    if match is None:
        raise ModelError(
            'program names an operator that is not ATen',
            given=target,
            allowed='aten.NAME.OVERLOAD',
        )
    return match.group(1)


def check_allowed(target: str) -> str:
    """Return the base name of ``target`` if a program may hold it.

    Raises:
        ModelError: The operator is not on the list.
    """
    name = base_name(target)
    if name not in ALLOWED or target.endswith('out'):
        raise ModelError(
            'program holds an operator that is not on the list of functional inference operators',
            given=target,
            hint='rewrite that part of the model, or propose the operator for graph/operators.py',
        )
    return name


def is_cheap(target: str) -> bool:
    """Whether the operator is a view or one cheap pass, so that it stays with its producer."""
    name = base_name(target)
    return name in VIEWS or name in ELEMENTWISE


def is_weighted(target: str) -> bool:
    """Whether the operator is a weighted layer when it reads a weight."""
    return base_name(target) in WEIGHTED
