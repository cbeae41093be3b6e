"""Retrain: train new weights from scratch on the retain set alone, by the recipe of the original.

    θ ~ initialisation;   θ ← fit(θ, D_r)

The reference that every other method is measured against. The seed is that of this run, not the original's. Where the original
was trained from other weights and not from scratch, so is this one: they are the initialisation, but for a head that was new.
"""

from dataclasses import replace
from typing import Annotated

from torch import nn

from unlearn_cli.data.splits import Splits
from unlearn_cli.engine.run import Run
from unlearn_cli.methods import method, setting
from unlearn_cli.techniques.training import fit, prepare


@method("Retraining from scratch", paper="reference", scope="class classes instances", reads="retain")
def retrain(
    run: Run, model: nn.Module, splits: Splits, *,
    epochs: Annotated[int | None, setting("passes over the retain set", computed="the original's", ge=1)] = None,
) -> None:  # fmt: skip
    recipe = replace(run.recipe, epochs=run.settle("epochs", epochs or run.recipe.epochs))
    model.load_state_dict((run.begun or run.fresh)(run.seed).state_dict())
    if run.begun is None:
        prepare(run, model, splits.retain)
    fit(run, model, splits.retain, recipe)
