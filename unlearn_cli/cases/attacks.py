"""What is done with models to see what they still know: trained on, compared block by block, a network never trained at all.

Each costs passes or training, so that it is made where a metric asks for it, and kept for the next command.
"""

import copy
import hashlib
from collections import Counter
from collections.abc import Collection, Sequence
from math import isnan, nan
from typing import Any

import torch
from torch import Tensor

from unlearn_cli.cases.case import Case
from unlearn_cli.cases.loading import Loaded
from unlearn_cli.data.splits import Split
from unlearn_cli.engine.kept import kept
from unlearn_cli.engine.run import Options, Run, deterministic
from unlearn_cli.errors import UnlearnError
from unlearn_cli.kinds import HELD, Kind
from unlearn_cli.metrics import registry
from unlearn_cli.metrics.accuracy import ABSENT
from unlearn_cli.metrics.registry import Blocks, Curves
from unlearn_cli.metrics.relearning import measured_by
from unlearn_cli.settings import declared
from unlearn_cli.techniques.relearning import relearn_curve
from unlearn_cli.techniques.stages import head_stage, stage_similarity, stages

LAYOUT = 1
"""Raise when the same models and images would give other numbers."""
ARMS = ("few_shot", "retain")
REVIVAL = {"steps": 20, "every": 5, "seeds": 1}
"""Of training on retain images in a revival: what bad statistics hide comes back in five steps."""
LOOKED_AT = 1000
"""Images of the forget set, at most, that blocks are compared on."""


def attacked(
    models: Sequence[Loaded], roles: Sequence[str], case: Case, names: Collection[str], options: Options
) -> list[dict[str, Any]]:
    """What the metrics of these names need beside the readouts, for each model, by the names of `Evidence`'s fields."""
    needs = {need for name in names for need in registry.known()[name].needs}
    original = roles.index("original") if "original" in roles else None
    references = [i for i, role in enumerate(roles) if role == "reference"]
    found: list[dict[str, Any]] = [{"curves": {}} for _ in models]
    if "random" in needs and len(case.splits["forget"]):
        logits = untrained(models[-1], case, options)
        found = [one | {"random_logits": logits} for one in found]
    drawn = {arm: [drawn_or_why(model, case, arm, options) for model in models] for arm in arms(names, case.kind)}
    if "revival" in needs:
        drawn["revival"] = [revival(model, case, options) for model in models]
    for arm, each in drawn.items():
        for i, one in enumerate(found):
            one["curves"][arm] = beside(each, i, original, references)
    if "blocks" in needs:
        for one, blocks in zip(found, compared(models, case, original, references, options), strict=True):
            one["blocks"] = blocks
    return found


def arms(names: Collection[str], kind: Kind) -> list[str]:
    """The attacks whose curves these metrics are computed from."""
    asked = {name for name in names if "curves" in registry.known()[name].needs}
    return [arm for arm in ARMS if asked.intersection(measured_by(arm, kind))]


def beside(each: Sequence[Curves | str], i: int, original: int | None, references: Sequence[int]) -> Curves | str:
    """The i-th model's curves, with those of the original and of the other references."""
    own = each[i]
    if isinstance(own, str):
        return own
    before = None if original is None or isinstance(each[original], str) else each[original].model
    others = [each[j] for j in references if j != i]
    return Curves(own.steps, own.model, before, [other.model for other in others if not isinstance(other, str)])


def parts(model: Loaded, case: Case) -> tuple[Split, Split, Split]:
    """The forget set, the retain set, and what is looked at: the classes' test images, or the listed images themselves."""
    names = ("forget", "retain", HELD[case.kind])
    forget, retain, held = (Split(name, model.folder.images, case.splits[name], case.target.task) for name in names)
    return forget, retain, held


def unfit(model: Loaded, case: Case, arm: str, shots: int) -> str:
    """Why this attack cannot show anything of this request, or nothing."""
    forget, retain, held = parts(model, case)
    for split in (retain, held):
        if len(split) == 0:
            return ABSENT[split.name]
    if arm == "few_shot" and len(forget) == 0:
        return ABSENT["forget"]
    if arm == "few_shot" and case.kind == "images" and max(Counter(forget.y.tolist()).values()) <= shots:
        return "every listed image would be trained on, and none is left to look at"
    return ""


def draw(model: Loaded, case: Case, arm: str, options: Options, **settings: Any) -> Curves | str:
    """A model's own relearning curves (`techniques.relearning.relearn_curve`), or the reason why there are none.

    Args:
        arm: "few_shot" or "retain".
        settings: of the training; the defaults for those left out.
    """
    settings = {name: setting.default for name, setting in declared(relearn_curve).items()} | settings
    if reason := unfit(model, case, arm, settings["shots"]):
        return reason
    run = model.run(options)
    forget, retain, held = parts(model, case)

    def train() -> dict[str, Tensor]:
        few = forget if arm == "few_shot" else None
        with deterministic(run), run.adopted(model.model, model.head) as network:
            steps, curves = relearn_curve(run, network, few, retain, held, case.forgotten, **settings)
        return {"steps": torch.tensor(steps), "curves": torch.tensor(curves, dtype=torch.float64)}

    def whole(found: dict[str, Tensor]) -> bool:
        return set(found) == {"steps", "curves"} and found["curves"].shape == (settings["seeds"], len(found["steps"]))

    positions = [digest(split.index) for split in (forget, retain, held)]
    key = (LAYOUT, arm, model.checkpoint.digest, *surroundings(model, run), case.forgotten, positions, run.seed,
           sorted(settings.items()))  # fmt: skip
    found = kept(run, "relearning", key, train, whole)
    return Curves(found["steps"].tolist(), found["curves"].tolist())


def revival(model: Loaded, case: Case, options: Options) -> Curves | str:
    """What a few steps on retain images bring back, or the reason why nobody can say."""
    return drawn_or_why(model, case, "retain", options, **REVIVAL)


def drawn_or_why(model: Loaded, case: Case, arm: str, options: Options, **settings: Any) -> Curves | str:
    """The same as `draw` where a training that diverges says nothing, and the other numbers stand."""
    try:
        return draw(model, case, arm, options, **settings)
    except UnlearnError as error:
        return f"training it on failed: {error.problem.rstrip('.')}"


def untrained(model: Loaded, case: Case, options: Options) -> Tensor:
    """(n_forget, K) logits that a network of this architecture with random weights gives the forget set."""
    run, forget = model.run(options), Split("forget", model.folder.images, case.splits["forget"], case.target.task)

    def read() -> dict[str, Tensor]:
        with run.adopted(model.model, model.head) as network:
            return {"logits": run.logits(run.newborn(network, "zrf"), forget, "random network").float()}

    def whole(found: dict[str, Tensor]) -> bool:
        return "logits" in found and found["logits"].shape == (len(forget), len(model.record.classes))

    key = (LAYOUT, *surroundings(model, run), digest(forget.index), run.seed)
    return kept(run, "untrained", key, read, whole)["logits"].cpu()


def compared(
    models: Sequence[Loaded], case: Case, original: int | None, references: Sequence[int], options: Options
) -> list[Blocks]:
    """For each model, how alike its blocks are to the original's and to the other references'."""
    found: dict[tuple[int, int], dict[str, float | None]] = {}

    def alike(i: int, j: int) -> dict[str, float | None]:
        pair = min(i, j), max(i, j)
        if pair not in found:
            found[pair] = similarity(models[pair[0]], models[pair[1]], case, options)
        return found[pair]

    images = min(LOOKED_AT, len(case.splits["forget"]))
    return [
        Blocks(
            head=head_stage(model.model, model.model.get_submodule(model.head)),
            images=images,
            original=None if original is None else alike(i, original),
            references=[alike(i, j) for j in references if j != i],
        )
        for i, model in enumerate(models)
    ]


def similarity(one: Loaded, other: Loaded, case: Case, options: Options) -> dict[str, float | None]:
    """Linear CKA of two models' blocks on the forget set, in the first one's order.

    Empty where their images differ in size or in how they were resized, or where there are none.
    """
    if not len(case.splits["forget"]) or one.folder.images.prepared != other.folder.images.prepared:
        return {}
    run, theirs = one.run(options), other.run(options)
    forget = Split("forget", one.folder.images, case.splits["forget"], case.target.task)
    names = list(stages(one.model, one.model.get_submodule(one.head)))
    second = copy.deepcopy(other.model) if other is one else other.model

    def look() -> dict[str, Tensor]:
        with run.adopted(one.model, one.head) as ours, theirs.adopted(second, other.head) as others:
            values = stage_similarity(run, ours, others, forget, theirs=theirs, images=LOOKED_AT)
        return {name: torch.tensor(nan if value is None else value, dtype=torch.float64) for name, value in values.items()}

    def whole(found: dict[str, Tensor]) -> bool:
        return bool(found) and set(found) <= set(names) and all(value.dim() == 0 for value in found.values())

    key = (LAYOUT, *((model.checkpoint.digest, *surroundings(model, r)) for model, r in ((one, run), (other, theirs))),
           digest(forget.index), LOOKED_AT)  # fmt: skip
    values = {name: value.item() for name, value in kept(run, "blocks", key, look, whole).items()}
    return {name: None if isnan(values[name]) else values[name] for name in names if name in values}


def surroundings(model: Loaded, run: Run) -> tuple:
    """What numbers depend on beside weights and request: the network, its input, the images, and what computes."""
    record = model.record
    network = (*model.computes, model.head, record.classes)
    images = (model.folder.fingerprint, *model.folder.images.prepared, run.mean, run.std)
    return (*network, *images, str(run.precision), run.device.type, torch.__version__)


def digest(index: Tensor) -> str:
    """Of positions in a folder."""
    return hashlib.sha256(index.numpy().tobytes()).hexdigest()
