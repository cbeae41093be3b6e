"""How an architecture is trained when nobody says otherwise, or as a paper says, as numbers and functions of the step."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from unlearn_cli.errors import UnlearnError, did_you_mean
from unlearn_cli.ops import schedules
from unlearn_cli.settings import Setting, declared, parse, setting, typed

if TYPE_CHECKING:
    from torch import nn

PAPERS = Path(__file__).parent / "papers"


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Nesterov SGD with a triangular rate and lookahead averaging, or Adam; `dataclasses.replace` changes a number.

    A step of `sgd` is `g = grad + weight_decay * w;  v = momentum * v + g;  w -= rate * (g + momentum * v)`, with v starting
    at zero and the gradient that of the batch's mean loss. `adam` takes the same g; `adamw` leaves the gradient alone and
    shrinks the weights by `rate * weight_decay` of themselves. For the biases of BatchNorm layers the rate is multiplied by
    `norm_bias_scale` and the decay divided by it, so that they move faster without decaying faster.
    """

    epochs: Annotated[int, setting("passes over the training images", ge=1)]
    optimizer: Annotated[Literal["sgd", "adam", "adamw"], setting("how a step is made of the gradient")] = "sgd"
    lr: Annotated[float, setting("the highest rate, for the mean loss of a batch", gt=0)]
    body_lr: Annotated[float, setting("factor on the rate of all that is below the head", gt=0)] = 1.0
    batch_size: Annotated[int, setting("images per step", ge=1)] = 128
    momentum: Annotated[
        float, setting("of SGD, with Nesterov's look-ahead", ge=0, lt=1, when={"optimizer": "sgd"})
    ] = 0.85
    weight_decay: Annotated[float, setting("L2 penalty on the weights", ge=0)] = 0.0
    decay: Annotated[
        Literal["all", "matrices"],
        setting("what the penalty is on: all weights, or not the norms, biases, tokens and positions"),
    ] = "all"
    norm_bias_scale: Annotated[float, setting("factor on the rate of BatchNorm's biases", gt=0)] = 1.0
    clip: Annotated[float, setting("largest norm of the gradient, to which a larger one is scaled down; 0 for none", ge=0)] = 0.0
    label_smoothing: Annotated[float, setting("share of the label spread over all classes", ge=0, lt=1)] = 0.0
    schedule: Annotated[
        Literal["triangular", "cosine", "constant", "step"],
        setting("how the rate falls: in a straight line, along a cosine, not at all, or to a tenth after each third"),
    ] = "triangular"
    warmup: Annotated[
        float,
        setting("how long the rate rises from nothing, as a fraction of all steps", ge=0, lt=1,
                when={"schedule": ("cosine", "constant", "step")}),
    ] = 0.0  # fmt: skip
    peak: Annotated[
        float, setting("where the rate is highest, as a fraction of all steps", ge=0, lt=1, when={"schedule": "triangular"})
    ] = 0.25
    start: Annotated[
        float, setting("rate of the first step, as a fraction of the highest", ge=0, le=1, when={"schedule": "triangular"})
    ] = 0.2
    end: Annotated[
        float,
        setting("rate of the last step, as a fraction of the highest", ge=0, le=1, when={"schedule": ("triangular", "cosine")}),
    ] = 0.0
    lookahead_every: Annotated[int, setting("steps between two averagings; 0 for none", ge=0)] = 0
    lookahead_decay: Annotated[float, setting("of the slow weights, per step, as the training ends", ge=0, le=1)] = 0.95
    crop_padding: Annotated[int, setting("pixels of reflection per side, of which a crop is taken", ge=0, le=12)] = 2
    flip: Annotated[Literal["none", "random", "alternating"], setting("mirror images left to right")] = "random"
    frozen: tuple[str, ...] = ()  # parameters that `prepare` has set and training must leave alone

    def rate(self, step: int, steps: int) -> float:
        """The learning rate of step 0 <= step < steps: a straight line up to its top, then down as the schedule says."""
        if self.schedule == "triangular":
            top = self.peak * steps
            if step < top:
                share = self.start + (1 - self.start) * step / top
            else:
                share = self.end + (1 - self.end) * (steps - step) / (steps - top)
            return self.lr * share
        top = self.warmup * steps
        if step < top:
            return self.lr * min((step + 1) / top, 1.0)
        if self.schedule == "cosine":
            return self.lr * (self.end + (1 - self.end) * schedules.rate("cosine", 1.0, step - top, steps - top))
        return schedules.rate(self.schedule, self.lr, step, steps)

    def average(self, step: int, steps: int) -> float | None:
        """How much of the slow weights stays once `step` steps of `steps` are done; None: no averaging now.

        When not None, with s the slow weights (at first a copy) and w the network's, BatchNorm's statistics included,
        `s = keep * s + (1 - keep) * w;  w = s`. Slow weights follow closely at first and less and less later.
        Trainings too short for ten averagings have none: they would end close to where they began.
        """
        if self.lookahead_every == 0 or steps < 10 * self.lookahead_every or step % self.lookahead_every:
            return None
        return self.lookahead_decay**self.lookahead_every * (step / steps) ** 3

    @property
    def acting(self) -> dict[str, Any]:
        """Its settings, without those that do nothing beside the others."""
        values = asdict(self)
        return {name: values[name] for name, one in settings().items() if not one.idle(values, None, "")}

    def parts(self, model: "nn.Module", head: "nn.Module") -> Iterator[tuple[list["nn.Parameter"], float, float]]:
        """What a step changes, as (parameters, factor on the rate, factor on the decay): those of the same factors together."""
        norms = {id(bias) for bias in _batchnorm_biases(model)}
        above = {id(p) for p in head.parameters()}
        groups: dict[tuple[float, float], list[nn.Parameter]] = {}
        for name, p in model.named_parameters():
            if p.requires_grad:
                faster = self.norm_bias_scale if id(p) in norms else 1.0
                decays = self.decay == "all" or is_matrix(name, p)
                rate = faster if id(p) in above else faster * self.body_lr
                groups.setdefault((rate, decays / faster), []).append(p)
        return ((group, rate, decay) for (rate, decay), group in groups.items())


def is_matrix(name: str, p: "nn.Parameter") -> bool:
    """Whether a parameter is a layer's matrix or kernels: no norm, bias, token, table of positions or factor of its own."""
    return p.dim() >= 2 and name.rpartition(".")[2].endswith("weight")


def _batchnorm_biases(model: "nn.Module") -> Iterator["nn.Parameter"]:
    from torch import nn

    return (m.bias for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.affine)


def settings() -> dict[str, Setting]:
    """What of a recipe a user may set, with types and ranges."""
    return {name: one for name, one in declared(Recipe).items() if name != "frozen"}


def adjusted(recipe: Recipe, given: dict[str, Any], owner: str) -> Recipe:
    """A recipe with some of its settings replaced, as they were typed.

    Raises:
        UnlearnError: a value is out of its range, does nothing beside the others, or makes the rate that of another optimiser.
    """
    known = settings()
    values = parse(known, given, owner)
    found = replace(recipe, **values)
    for name in given:
        if idle := known[name].idle(asdict(found), None, owner):
            raise UnlearnError(idle, "leave it out.")
    if found.optimizer != recipe.optimizer and "sgd" in (found.optimizer, recipe.optimizer) and "lr" not in given:
        raise UnlearnError(f"the rate of {typed(recipe.lr)} is for {recipe.optimizer}, not for {found.optimizer}.",
                           f"add --set lr={'0.05' if found.optimizer == 'sgd' else '0.001'}, or another.")  # fmt: skip
    return found


def gentle(recipe: Recipe) -> Recipe:
    """For weights that have learned already: a tenth of the rate, so that they are not lost at once."""
    return replace(recipe, lr=recipe.lr / 10)


def general(attention: bool) -> Recipe:
    """For networks that nobody here tuned a recipe for: convolutions by SGD, attention layers by AdamW with a warm-up."""
    if attention:
        return Recipe(epochs=10, optimizer="adamw", lr=5e-4, weight_decay=0.05, decay="matrices", schedule="cosine", warmup=0.1,
                      clip=1.0, label_smoothing=0.1)  # fmt: skip
    return Recipe(epochs=10, lr=0.05, momentum=0.9, weight_decay=5e-4, label_smoothing=0.1)


@dataclass(frozen=True)
class Published:
    """The set-up of a paper's own models, as a file in `papers` says it.

    Args:
        arch: architecture and settings, as they are typed.
        size: side of the images in pixels.
        values: all that differs from a plain recipe; nothing of an architecture's own recipe is mixed in.
    """

    name: str
    paper: str
    arch: str
    size: int
    values: dict[str, Any]

    def recipe(self, default: Recipe) -> Recipe:
        """As a recipe for an architecture, of whose own DEFAULT only what it freezes remains."""
        return Recipe(**parse(settings(), self.values, f"the recipe of {self.name}"), frozen=default.frozen)


def published_names() -> list[str]:
    """The papers whose set-ups are known, by their files."""
    return sorted(path.name.removesuffix(".yaml") for path in PAPERS.iterdir() if path.name.endswith(".yaml"))


def published(name: str) -> Published:
    """The set-up of a paper by the name of its method.

    Raises:
        UnlearnError: none is known of that name.
    """
    import yaml

    names = published_names()
    if name not in names:
        raise UnlearnError(f"there is no recipe '{name}'.", f"{did_you_mean(name, names)} recipes: {', '.join(names)}.".strip())
    told = yaml.safe_load((PAPERS / f"{name}.yaml").read_text(encoding="utf-8"))
    return Published(name, told["paper"], told["arch"], told["size"], {"epochs": told["epochs"]} | told["set"])
