"""What a model said, from its logits alone."""

from unlearn_cli.metrics.registry import Outputs


def said(logits, features=None, weights=None) -> Outputs:
    return Outputs(logits, logits if features is None else features, weights or {})
