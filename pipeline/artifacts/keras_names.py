"""What a model in a checkpoint may be made of: names of Keras's own layers, operations and settings.

An allow-list: what is not here is refused. None of these takes a function, a path or a vocabulary;
tests/artifacts/test_keras_archive.py compares them with the Keras that is installed.
"""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _of(module: str, names: str) -> frozenset[str]:
    return frozenset(f"{module}.{name}" for name in _words(names))


FUNCTIONAL = "keras.src.models.functional.Functional"
SEQUENTIAL = "keras.Sequential"
MODELS = frozenset({FUNCTIONAL, SEQUENTIAL})

LAYERS = (
    _of(
        "keras.layers",
        """
        Activation ActivityRegularization AdaptiveAveragePooling1D AdaptiveAveragePooling2D
        AdaptiveAveragePooling3D AdaptiveMaxPooling1D AdaptiveMaxPooling2D AdaptiveMaxPooling3D Add
        AdditiveAttention AlphaDropout Attention AugMix AutoContrast Average AveragePooling1D
        AveragePooling2D AveragePooling3D BatchNormalization Bidirectional CenterCrop Concatenate
        Conv1D Conv1DTranspose Conv2D Conv2DTranspose Conv3D Conv3DTranspose ConvLSTM1D ConvLSTM2D
        ConvLSTM3D Cropping1D Cropping2D Cropping3D CutMix Dense DepthwiseConv1D DepthwiseConv2D Dot
        Dropout ELU EinsumDense Embedding Equalization Flatten GRU GRUCell GaussianDropout
        GaussianNoise GlobalAveragePooling1D GlobalAveragePooling2D GlobalAveragePooling3D
        GlobalMaxPooling1D GlobalMaxPooling2D GlobalMaxPooling3D GroupNormalization
        GroupQueryAttention Identity InputLayer LSTM LSTMCell LayerNormalization LeakyReLU Masking
        MaxPooling1D MaxPooling2D MaxPooling3D Maximum Minimum MixUp MultiHeadAttention Multiply
        Normalization PReLU Permute Pipeline RMSNormalization RNN RandAugment RandomBrightness
        RandomColorDegeneration RandomColorJitter RandomContrast RandomCrop RandomElasticTransform
        RandomErasing RandomFlip RandomGaussianBlur RandomGrayscale RandomHue RandomInvert
        RandomPerspective RandomPosterization RandomRotation RandomSaturation RandomSharpness
        RandomShear RandomTranslation RandomZoom ReLU RepeatVector Rescaling Reshape Resizing
        ReversibleEmbedding SeparableConv1D SeparableConv2D SimpleRNN SimpleRNNCell Softmax
        Solarization SpatialDropout1D SpatialDropout2D SpatialDropout3D SpectralNormalization
        StackedRNNCells Subtract TimeDistributed UnitNormalization UpSampling1D UpSampling2D
        UpSampling3D ZeroPadding1D ZeroPadding2D ZeroPadding3D
        """,
    )
    # Two backbones of keras.applications have a layer of their own.
    | _of("keras.src.applications.convnext", "LayerScale")
    | _of("keras.src.applications.inception_resnet_v2", "CustomScaleLayer")
)

OPERATIONS = (
    _of(
        "keras.src.ops.core",
        """
        Cast ConvertToTensor SaturateCast Scatter ScatterUpdate Slice SliceUpdate StopGradient Unstack
        """,
    )
    | _of(
        "keras.src.ops.image",
        """
        AffineTransform CropImages ExtractPatches GaussianBlur HSVToRGB PadImages PerspectiveTransform
        RGBToGrayscale RGBToHSV Resize ScaleAndTranslate SobelEdges
        """,
    )
    | _of("keras.src.ops.linalg", "Norm")
    | _of("keras.src.ops.math", "Erf Erfinv FFT FFT2 IFFT2 IRFFT Logsumexp RFFT Rsqrt TopK")
    | _of(
        "keras.src.ops.nn",
        """
        AdaptiveAveragePool AdaptiveMaxPool AveragePool BatchNorm Celu Conv ConvTranspose DepthToSpace
        DepthwiseConv DotProductAttention Elu Fold Gelu Glu HardShrink HardSigmoid HardSilu HardTanh
        LayerNorm LeakyRelu LogSigmoid LogSoftmax MaxPool Moments MultiHot Normalize OneHot RMSNorm
        Relu Relu6 Selu SeparableConv Sigmoid Silu SoftShrink Softmax Softplus Softsign SpaceToDepth
        SparsePlus SparseSigmoid Sparsemax Squareplus TanhShrink Threshold Unfold
        """,
    )
    | _of(
        "keras.src.ops.numpy",
        """
        Abs Absolute Add All Amax Amin Any Append Arccos Arccosh Arcsin Arcsinh Arctan Arctan2 Arctanh
        Argmax Argmin Argsort Average BroadcastTo Cbrt Ceil Clip Concatenate Copy Cos Cosh CountNonzero
        Cross Cumprod Cumsum Diag Diagonal Diff Divide DivideNoNan Dot Dstack Einsum Equal Exp Exp2
        ExpandDims Expm1 Fabs Flip Floor FloorDivide FullLike GetItem Greater GreaterEqual Heaviside
        Hstack Hypot Inner Isfinite Isinf Isnan Less LessEqual Log Log10 Log1p Log2 Logaddexp
        LogicalAnd LogicalNot LogicalOr LogicalXor Matmul Max Maximum Mean Median Min Minimum Mod
        Moveaxis Multiply NanToNum Negative NotEqual OnesLike Outer Pad Percentile Power Prod Quantile
        Ravel Reciprocal Repeat Reshape Roll Rot90 Round Select Sign Sin Sinc Sinh Sort Split Sqrt
        Square Squeeze Stack Std Subtract Sum Swapaxes Take TakeAlongAxis Tan Tanh Tensordot Tile Trace
        Transpose Tril Triu TrueDivide Trunc Var Vdot Vstack Where ZerosLike
        """,
    )
)

INITIALIZERS = _of(
    "keras.initializers",
    """
    Constant GlorotNormal GlorotUniform HeNormal HeUniform Identity LecunNormal LecunUniform Ones
    Orthogonal RandomNormal RandomUniform TruncatedNormal VarianceScaling Zeros
    """,
)
REGULARIZERS = _of("keras.regularizers", "L1 L1L2 L2 OrthogonalRegularizer")
CONSTRAINTS = _of("keras.constraints", "MaxNorm MinMaxNorm NonNeg UnitNorm")
POLICIES = _of("keras", "DTypePolicy")

ACTIVATIONS = _words(
    """
    celu elu exponential gelu glu hard_shrink hard_sigmoid hard_silu hard_swish hard_tanh leaky_relu
    linear log_sigmoid log_softmax mish relu relu6 selu sigmoid silu soft_shrink softmax softplus
    softsign sparse_plus sparse_sigmoid sparsemax squareplus swish tanh tanh_shrink threshold
    """
)
NUMBERS = _words("bool uint8 uint16 uint32 int8 int16 int32 int64 float16 bfloat16 float32 float64")
# The texts that a setting may be: data formats, paddings, modes, types of numbers.
WORDS = NUMBERS | _words(
    """
    channels_last channels_first valid same causal full constant reflect symmetric edge wrap nearest
    mirror bilinear bicubic lanczos3 lanczos5 area auto horizontal vertical horizontal_and_vertical
    fan_in fan_out fan_avg uniform normal truncated_normal untruncated_normal
    concat sum mul ave dot max min mean linear lower higher midpoint
    batch int float multi_hot one_hot count grayscale rgb hsv
    mixed_float16 mixed_bfloat16 fro nuc columns rows
    """
)
# Texts of a form of their own: letters for axes.
SUMS_OVER_AXES = frozenset({"equation", "subscripts"})

# What kind of object the end of a setting's name stands for.
AT = {
    "initializer": INITIALIZERS,
    "regularizer": REGULARIZERS,
    "constraint": CONSTRAINTS,
    "dtype": POLICIES,
    "activation": LAYERS,
    "layer": LAYERS | MODELS,
    "layers": LAYERS | MODELS,
    "cell": LAYERS,
    "cells": LAYERS,
}
