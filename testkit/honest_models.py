"""Models as a user would write them, of what README allows."""

import numpy as np

from pipeline.artifacts.keras_import import import_keras

keras = import_keras()
layers, ops = keras.layers, keras.ops
# Of keras.applications, with what each family has of its own.
BACKBONES = (
    *("ConvNeXtTiny", "DenseNet121", "EfficientNetB0", "EfficientNetV2B0", "InceptionResNetV2"),
    *("MobileNetV2", "MobileNetV3Large", "MobileNetV3Small", "ResNet50", "VGG16", "Xception"),
)


def of_layers() -> object:
    pixels = keras.Input((8, 8, 3), name="pixels in: 8 x 8")
    x = layers.RandomFlip(seed=2**33)(
        layers.Normalization(mean=[1, 2, 3], variance=[1, 1, 1])(pixels)
    )
    x = layers.SpectralNormalization(layers.Conv2D(4, 3, kernel_regularizer="l2"))(x)
    x = layers.Dense(4, layers.LeakyReLU(0.1), kernel_constraint=keras.constraints.MaxNorm(2))(x)
    rows = layers.TimeDistributed(layers.LSTM(3))(x)
    rows = layers.Bidirectional(layers.GRU(3, return_sequences=True))(rows)
    rows = layers.RNN([layers.LSTMCell(3), layers.GRUCell(3)], return_sequences=True)(rows)
    again = layers.Dense(3, ops.tanh, kernel_initializer=keras.initializers.RandomNormal(seed=5))
    rows = again(again(layers.MultiHeadAttention(2, 2)(rows, rows, use_causal_mask=True)))
    inner = keras.Sequential([layers.EinsumDense("abc,cd->abd", (6, 3)), layers.PReLU()])
    rows = layers.Flatten()(inner(rows) + inner(rows * 2))
    return keras.Model(pixels, layers.Dense(3, "softmax", dtype="float32")(rows))


def of_operations() -> object:
    pixels = keras.Input((8, 8, 3))
    x = (pixels - np.array([1, 2, 3], "float32")) / ops.convert_to_tensor([1.0, 2.0, 3.0])
    x = ops.pad(x[:, 1:-1, ::2, ...], [[0, 0], [1, 1], [0, 0], [0, 0]], mode="reflect")
    x = ops.reshape(ops.einsum("bhwc->bwhc", ops.cast(x, "float32")), (-1, 4 * 8, 3))
    x = ops.where(x > 0.5, x, -1e9) + ops.mean(x, axis=(1, 2), keepdims=True)
    x = ops.split(ops.concatenate([ops.softmax(x), ops.sqrt(ops.exp(x))], axis=-1), 2, axis=-1)[0]
    x = ops.image.resize(ops.expand_dims(x, -1), (8, 8), interpolation="bicubic")
    x = ops.gelu(ops.squeeze(ops.max(x, axis=(1, 2), keepdims=True), (1, 2)), approximate=True)
    return keras.Model(pixels, layers.Dense(3, "softmax")(x))


def of_backbone(name: str) -> object:
    """A backbone of keras.applications with a head, as a user would write it."""
    base = getattr(keras.applications, name)(
        include_top=False, weights=None, input_shape=(96, 96, 3), pooling="avg"
    )
    pixels = keras.Input((96, 96, 3))
    return keras.Model(pixels, layers.Dense(3, "softmax", dtype="float32")(base(pixels)))
