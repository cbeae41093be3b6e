"""How far have the weights moved?

Farther is not better: much farther than a retrained model lies suggests over-forgetting. Models with other seeds lie
apart whatever they know, so that nearness to a retrained one is weak evidence. Parameters only, no buffers.
"""

from math import isfinite

from unlearn_cli.metrics.registry import Evidence, Outputs, metric
from unlearn_cli.metrics.report import Measure


@metric(better="reference", unit="score", needs=("original",), short="weights moved", source="UNSIR, Fig. 2 and Table 7")
def weight_distance(evidence: Evidence) -> Measure:
    """Euclidean distance of all parameters from the original's.

    The detail has it layer by layer (a layer is a module with parameters of its own), the largest of them, and
    `normalised`: divided by the norm of this model's parameters.
    """
    if evidence.original is None:
        return Measure(None, "needs the original model")
    layers, norm, note = by_layer(evidence.model, evidence.original)
    if not layers:
        return Measure(None, note)
    value = length(layers.values())
    largest = max(layers, key=layers.get)
    detail = {
        "largest": largest, "largest_distance": layers[largest],
        "layer_names": ", ".join(layers), "layers": list(layers.values()),
    }  # fmt: skip
    return Measure(value, detail=detail | ({"normalised": value / norm} if norm else {}) | ({"note": note} if note else {}))


@metric(better="reference", unit="score", needs=("reference",), short="weights to ref.", source="UNSIR, Table 7")
def weights_to_reference(evidence: Evidence) -> Measure:
    """Euclidean distance of all parameters from the reference's, averaged over references."""
    if not evidence.references:
        return Measure(None, "needs a reference model")
    values, notes = [], []
    for other in evidence.references:
        layers, _, note = by_layer(evidence.model, other)
        if not layers:
            return Measure(None, note)
        values.append(length(layers.values()))
        notes.append(note)
    note = {"note": max(notes)} if any(notes) else {}
    return Measure(sum(values) / len(values), detail={"references": len(values)} | note)


def by_layer(own: Outputs, other: Outputs) -> tuple[dict[str, float], float, str]:
    """The distance of each layer's parameters, the norm of the first model's, and a caution.

    Only parameters of the same name and shape in both are compared, if these are half of all at least. Without layers the
    caution says why.
    """
    shared = [
        name for name, weight in own.weights.items() if name in other.weights and other.weights[name].shape == weight.shape
    ]
    apart = len(own.weights) - len(shared)
    if not shared or apart > len(shared):
        how_many = f"only {len(shared)} of {len(own.weights)} parameters" if shared else "no parameter"
        return {}, 0.0, f"the models share {how_many}: their architectures differ"
    squares, total = {}, 0.0
    for name in shared:
        weight = own.weights[name].double()
        square = (weight - other.weights[name].double()).square().sum().item()
        if not isfinite(square):
            return {}, 0.0, f"{name} holds values that are not finite"
        layer = name.rpartition(".")[0] or name
        squares[layer] = squares.get(layer, 0.0) + square
        total += weight.square().sum().item()
    note = f"{apart} of {len(own.weights)} parameters differ in name or shape and are left out" if apart else ""
    return {layer: square**0.5 for layer, square in squares.items()}, total**0.5, note


def length(distances) -> float:
    return sum(distance**2 for distance in distances) ** 0.5
