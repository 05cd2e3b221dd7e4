"""Convolutions alone: strides in place of pooling, an average in place of dense layers.

Springenberg et al., "Striving for Simplicity: The All Convolutional Net", 2015 (All-CNN-C).
"""

from keras import Input, Sequential, layers


def build_model(input_shape, num_classes):
    def convolution(filters, size=3, strides=1, activation="relu"):
        # He's initial weights: with Keras's default ones so many layers in a row hardly begin to learn.
        return layers.Conv2D(
            filters, size, strides, "same", activation=activation, kernel_initializer="he_normal"
        )

    return Sequential(
        [
            Input(input_shape),
            layers.Rescaling(1 / 127.5, offset=-1),
            convolution(96),
            convolution(96),
            convolution(96, strides=2),
            convolution(192),
            convolution(192),
            convolution(192, strides=2),
            convolution(192),
            convolution(192, size=1),
            convolution(num_classes, size=1, activation=None),
            layers.GlobalAveragePooling2D(),
            # Probabilities in full precision, also where the rest is computed in half.
            layers.Activation("softmax", dtype="float32"),
        ]
    )
