"""Where the first layers of a model end that no training changes: what they give, they give in each epoch.

Keras's private names are used here, as its public ones do not say how layers are connected.
"""

from pipeline.artifacts.keras_import import import_keras


def parts(model: object) -> tuple[object, object] | None:
    """The frozen part of `model`, from its input to features, and the rest, from these to its output.

    Both are made of the model's own layers: what is trained in the rest is trained in the model.
    None where no layer with weights is frozen, or what is frozen does not come first.
    """
    keras = import_keras()
    graph = getattr(model, "_functional", model)  # of a Sequential
    if not isinstance(graph, keras.Model) or not hasattr(graph, "_nodes_by_depth"):
        return None
    made_by, settled = {}, []
    for depth in sorted(graph._nodes_by_depth, reverse=True):
        for node in graph._nodes_by_depth[depth]:
            made_by |= {id(tensor): node for tensor in node.outputs}
            before = {id(tensor) for tensor in node.input_tensors}
            known = {id(tensor) for tensor in settled}
            if len(node.outputs) == 1 and before <= known and _is_settled(keras, node.operation):
                settled.append(node.outputs[0])
    cut = next((tensor for tensor in reversed(settled) if _separates(tensor, graph, made_by)), None)
    if cut is None or made_by[id(cut)].is_input:
        return None
    frozen = keras.Model(graph.inputs[0], cut)
    rest = keras.Model(cut, graph.outputs[0])
    return (frozen, rest) if frozen.weights and rest.trainable_weights else None


def can_be_tuned(model: object) -> bool:
    """Whether there are frozen layers that `unfreeze` would have trained."""
    return any(
        layer._trainable_variables and not layer.trainable and not _normalizes(layer)
        for layer in model._flatten_layers()
    )


def unfreeze(model: object) -> None:
    """Have all layers trained but batch normalizations that were frozen.

    As Keras's guide advises (https://keras.io/guides/transfer_learning/): frozen, they use the statistics
    that they came with, and to train these would destroy what the other weights have learned.
    """
    layers = list(model._flatten_layers())
    kept = [layer for layer in layers if _normalizes(layer) and not layer.trainable]
    for layer in layers:
        if not layer.trainable:
            layer.trainable = True  # of all that is in it, too
    for layer in kept:
        layer.trainable = False


def _normalizes(layer: object) -> bool:
    return isinstance(layer, import_keras().layers.BatchNormalization)


def _is_settled(keras: object, operation: object) -> bool:
    """Whether it gives the same for the same input, in each epoch, and adds nothing to the loss."""
    if not isinstance(operation, keras.layers.Layer):
        return True
    return not any(
        type(layer).__module__.split(".")[0] != "keras"
        or isinstance(layer, keras.layers.Lambda)
        or layer._seed_generators
        or getattr(layer, "activity_regularizer", None) is not None
        or (layer.trainable and (layer._trainable_variables or layer._non_trainable_variables))
        for layer in operation._flatten_layers()
    )


def _separates(cut: object, graph: object, made_by: dict) -> bool:
    """Whether each way from the graph's outputs back to an input leads through `cut`."""
    seen, open_ends = set(), list(graph.outputs)
    while open_ends:
        tensor = open_ends.pop()
        if id(tensor) in seen or tensor is cut:
            continue
        seen.add(id(tensor))
        node = made_by[id(tensor)]
        if node.is_input:
            return False
        open_ends += node.input_tensors
    return True
