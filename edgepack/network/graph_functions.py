"""Which of TensorFlow's functions a saved model may call: those that only compute with tensors."""

from __future__ import annotations

SECTIONS = ("math", "linalg", "image", "signal", "bitwise", "__operators__")
"""Parts of TensorFlow of which every function only computes; their classes are left out."""

NN = """
    atrous_conv2d atrous_conv2d_transpose avg_pool avg_pool1d avg_pool2d avg_pool3d avg_pool_v2
    batch_norm_with_global_normalization batch_normalization bias_add conv1d conv1d_transpose conv2d
    conv2d_backprop_input conv2d_transpose conv3d conv3d_transpose conv_transpose convolution crelu
    depth_to_space depthwise_conv2d depthwise_conv2d_native dilation2d dropout elu embedding_lookup
    erosion2d fused_batch_norm gelu in_top_k l2_loss l2_normalize leaky_relu
    local_response_normalization log_softmax lrn max_pool max_pool1d max_pool2d max_pool3d
    max_pool_v2 max_pool_with_argmax moments normalize_moments pool relu relu6 relu_layer selu
    separable_conv2d sigmoid silu softmax softplus softsign space_to_batch space_to_depth
    sufficient_statistics swish tanh top_k weighted_moments xw_plus_b zero_fraction
"""
"""Of ``tf.nn``; left out are samplers that read a file, and what runs a function given to it."""

TOP = """
    abs acos acosh add add_n argmax argmin argsort asin asinh atan atan2 atanh batch_to_space
    batch_to_space_nd bitcast boolean_mask broadcast_dynamic_shape broadcast_static_shape
    broadcast_to cast ceil clip_by_global_norm clip_by_norm clip_by_value complex concat constant
    convert_to_tensor cos cosh cumprod cumsum depth_to_space dynamic_partition dynamic_stitch einsum
    ensure_shape equal erf exp expand_dims expm1 extract_volume_patches eye fill floor floordiv
    floormod gather gather_nd greater greater_equal histogram_fixed_width identity identity_n
    is_finite is_inf is_nan less less_equal linspace log log1p log_sigmoid logical_and logical_not
    logical_or logical_xor matmul maximum meshgrid minimum mod multiply negative norm not_equal
    one_hot ones ones_like pad pow range rank real realdiv reciprocal reduce_all reduce_any
    reduce_logsumexp reduce_max reduce_mean reduce_min reduce_prod reduce_sum repeat reshape reverse
    reverse_sequence reverse_v2 rint roll round rsqrt saturate_cast scalar_mul scatter_nd
    searchsorted sequence_mask shape shape_n sigmoid sign sin sinh size slice sort space_to_batch
    space_to_batch_nd space_to_depth split sqrt square squared_difference squeeze stack
    stop_gradient strided_slice subtract tan tanh tensor_scatter_nd_add tensor_scatter_nd_max
    tensor_scatter_nd_min tensor_scatter_nd_sub tensor_scatter_nd_update tensordot tile transpose
    truediv div div_no_nan divide truncatediv truncatemod unique unravel_index unstack where
    where_v2 zeros zeros_like
"""
"""At TensorFlow's top."""

BACKEND = """
    all any arange batch_dot batch_flatten batch_normalization bias_add cast_to_floatx clip
    concatenate conv1d conv2d conv2d_transpose conv3d depthwise_conv2d dot elu flatten hard_sigmoid
    l2_normalize max mean min permute_dimensions pool2d pool3d prod relu repeat_elements
    resize_images resize_volumes separable_conv2d softmax softplus softsign spatial_2d_padding
    spatial_3d_padding std sum temporal_padding var
"""
"""Of ``keras.backend``, besides what is named as at TensorFlow's top."""

QUANTIZATION = """
    dequantize fake_quant_with_min_max_args fake_quant_with_min_max_vars
    fake_quant_with_min_max_vars_per_channel quantize quantize_and_dequantize
    quantize_and_dequantize_v2
"""
"""Of ``tf.quantization``."""


def only_computes(symbol: str) -> bool:
    """Whether a function, named as TensorFlow exports it (``math.reduce_sum``), has no effects.

    What is not known to be harmless is taken for harmful: functions that read, write, print, load
    libraries, or run other functions.
    """
    section, _, name = symbol.removeprefix("compat.v1.").rpartition(".")
    if section in SECTIONS:
        return name.islower()
    allowed = {"": TOP, "nn": NN, "keras.backend": TOP + BACKEND, "quantization": QUANTIZATION}
    return section == "math.special" or name in allowed.get(section, "").split()
