"""Two blocks of two 3x3 convolutions, then a dense layer: small, quick, good on small images."""

from keras import Input, Sequential, layers

PRIORITY = 10


def build_model(input_shape, num_classes):
    # Of larger images, as much is left for the dense layer as of those of 32 x 32.
    larger = min(input_shape[:2]) > 32
    return Sequential(
        [
            Input(input_shape),
            layers.Rescaling(1 / 255),
            layers.Conv2D(32, 3, padding="same", activation="relu"),
            layers.Conv2D(32, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Dropout(0.25),
            layers.Conv2D(64, 3, padding="same", activation="relu"),
            layers.Conv2D(64, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Dropout(0.25),
            *([layers.AdaptiveAveragePooling2D(6)] if larger else []),
            layers.Flatten(),
            layers.Dense(512, activation="relu"),
            layers.Dropout(0.5),
            # Probabilities in full precision, also where the rest is computed in half.
            layers.Dense(num_classes, activation="softmax", dtype="float32"),
        ]
    )
