"""What of a model goes into its checkpoint: Keras's own layers and operations, not compiled.

Classes of a model's own are written out in these: so a checkpoint is loaded without the model's file,
whatever became of that, and no checkpoint ever says which code to run. What is trained is the model
as its file has it.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.artifacts.keras_import import import_keras


def to_functional(model: object) -> object:
    """A model that predicts as `model` does, on the same weights, and is not compiled.

    Raises:
        Exception: of any kind, where a call() does more than to call layers and operations of Keras.
    """
    keras = import_keras()
    if has_own_classes(model):
        inputs = keras.Input(model.input_shape[1:])
        with _open_layers(keras):
            return keras.Model(inputs, model(inputs))
    if not model.compiled:
        return model
    # An optimizer's state is twice the weights, and Keras warns of it when the checkpoint is loaded.
    if isinstance(model, keras.Sequential):
        inputs = keras.Input(batch_shape=model.input_shape, dtype=model.input_dtype)
        return keras.Sequential([inputs, *model.layers], name=model.name)
    return keras.Model(model.inputs[0], model.outputs[0], name=model.name)


def has_own_classes(layer: object) -> bool:
    """Whether a layer, or one in it, computes what a class or a lambda says that is not Keras's."""
    function_of_its_own = import_keras().layers.Lambda
    return any(
        _is_own(type(one)) or isinstance(one, function_of_its_own)
        for one in layer._flatten_layers()
    )


def _is_own(named: type) -> bool:
    return named.__module__.split(".")[0] != "keras"


@contextmanager
def _open_layers(keras: object) -> Iterator[None]:
    """Calling a layer with an own class in it means to go through its call(), as it predicts.

    Keras would take it for one step. Its call() knows the symbols that go through only in Keras's
    layers and operations, and so these become the steps.
    """
    layers = keras.layers.Layer
    as_one_step = layers.__call__

    def through(layer: object, *inputs: object, **more: object) -> object:
        if not has_own_classes(layer):
            return as_one_step(layer, *inputs, **more)
        more.pop("training", None)
        if layer._call_has_training_arg:
            more["training"] = False
        return layer.call(*_in_its_precision(keras, layer, inputs), **more)

    layers.__call__ = through
    try:
        yield
    finally:
        layers.__call__ = as_one_step


def _in_its_precision(keras: object, layer: object, inputs: tuple) -> tuple:
    """As each layer does with its inputs when it is called."""

    def cast(value: object) -> object:
        numbers = keras.backend.is_keras_tensor(value) and keras.backend.is_float_dtype(value.dtype)
        other = numbers and value.dtype != layer.compute_dtype
        return keras.ops.cast(value, layer.compute_dtype) if other else value

    return keras.tree.map_structure(cast, inputs) if layer.autocast else inputs
