"""TMU: unlearn only those listed images that a retrained model would miss; keep the others through noisy copies.

    twin       M_t ← fine-tune(θ₀, D ∪ A_c)       A_c: held-out images of D_f's classes;  easy on A_c: M_θ₀ is right
    features   DF: distance of h(x) to its nearest of D_r;  AF: CE(σ(M(x)), M(x_adv));  CF: CE(M_r(x), y)
               of A_c under M_t, of D_f under θ₀;   M_r: two epochs from scratch
    predict    b(DF, AF, CF) = P(easy), learned on A_c, asked on D_f
    unlearn    CE(f_θ(x_r), y_r),   CE(f_θ(x_e + noise), y_e) for the easy,   CE(f_θ(x_h), ỹ_h) for the hard

"Towards Aligned Data Forgetting via Twin Machine Unlearning", 2025: the forget accuracy is to equal the retrained model's, not
zero. A_c comes from the selection set, of which nothing is reported. Departures, as the authors' code differs from the paper
and cannot be run whole: the paper's network b, features and start; the code's mean of five distances between features of
length one, scaling, wrong labels (drawn once) for hard images and rates. hard=ascent is the paper's climb, ended at the loss
of a guess; start=twin, df=concat, df_references=twin, features=df_cf, curriculum_held_out=false with curriculum_fraction=1,
classifier_width=32, classifier_optimizer=adam and classifier_epochs=200 are the other side's choices. AF's target is
σ(M(x)), where the code passes logits. The noise is in [0, 1] pixels; the paper's unit is unknown. Easy images are never
shown without it. Every image is seen once per epoch, all kinds in one shuffled data set, so each kind weighs by its number.
Where one kind of image is missing from A_c, b cannot be learned: an image is then hard where its CF is above the quantile
(hits + 1) / (n + 2) of M_θ₀ on A_c. Without held-out images of the classes asked for, A_c is all of the selection set. Fewer
than five listed images are scaled by A_c's quartiles. b learns in batches of 32, as A_c is a fifth of the test images.
"""

from types import SimpleNamespace
from typing import Annotated, Literal

import torch
from torch import Tensor, nn

from unlearn_cli.data.splits import Split, Splits
from unlearn_cli.engine.batches import Features, seeded
from unlearn_cli.engine.run import Run
from unlearn_cli.methods import BatchNorm, method, setting
from unlearn_cli.ops.difficulty import easiest, unit_scaled
from unlearn_cli.ops.modes import train_mode
from unlearn_cli.techniques.classifier import classifier
from unlearn_cli.techniques.difficulty import attack_loss_of, distances_of, held_out, loss_of, references
from unlearn_cli.techniques.noise import noisy
from unlearn_cli.techniques.training import prepare, train

FEW = 5
"""Fewer images than this have no spread of their own to speak of."""
RETAIN, EASY, HARD = range(3)
HAVE_DF = {"features": ("all", "df_cf", "df_af", "df")}
HAVE_AF = {"features": ("all", "df_af", "af_cf", "af")}


@method("Twin Machine Unlearning", paper="TMU, 2025", scope="instances", reads="forget retain selection",
        quick={"epochs": 1, "twin_epochs": 1, "twin_fraction": 0.1, "curriculum_epochs": 1, "classifier_epochs": 5})  # fmt: skip
def tmu(
    run: Run, model: nn.Module, splits: Splits, *,
    features: Annotated[Literal["all", "df_cf", "df_af", "af_cf", "df", "af", "cf"], setting("what tells easy images")] = "all",
    df: Annotated[Literal["mean", "concat"], setting("the nearest distances as their mean, or one by one", when=HAVE_DF)] = "mean",
    df_references: Annotated[
        Literal["own", "twin"], setting("DF's retain images as θ₀ sees them, or M_t, for D_f", when=HAVE_DF)
    ] = "own",
    nearest: Annotated[int, setting("how many of the nearest retain images DF looks at", when=HAVE_DF, ge=1)] = 5,
    reference_limit: Annotated[int, setting("retain images per class that DF looks among, at most", when=HAVE_DF, ge=1)] = 5000,
    attack_radius: Annotated[float, setting("of AF's attack, L-infinity, in [0, 1] pixels", when=HAVE_AF, gt=0, le=1)] = 4 / 255,
    attack_steps: Annotated[int, setting("of AF's attack, a third of the radius each", when=HAVE_AF, ge=1)] = 5,
    scaling: Annotated[Literal["separate", "held_out"], setting("forget features by their own quartiles, or A_c's")] = "separate",
    twin_epochs: Annotated[int, setting("passes of the twin over all training images and A_c", ge=1)] = 10,
    twin_lr: Annotated[float, setting("Adam's step size for the twin", gt=0)] = 1e-4,
    twin_fraction: Annotated[float, setting("share of the retain set that the twin sees", gt=0, le=1)] = 1.0,
    curriculum_epochs: Annotated[int, setting("passes of CF's network, from scratch", ge=1)] = 2,
    curriculum_lr: Annotated[float, setting("Adam's step size for CF's network", gt=0)] = 1e-4,
    curriculum_fraction: Annotated[float, setting("share of the retain set that CF's network sees", gt=0, le=1)] = 0.3,
    curriculum_held_out: Annotated[bool, setting("CF's network sees A_c as well")] = True,
    classifier_width: Annotated[int, setting("of b's first hidden layer, twice the second's", ge=2)] = 64,
    classifier_optimizer: Annotated[Literal["sgd", "adam"], setting("SGD with momentum 0.9 and decay 5e-4, or plain Adam")] = "sgd",
    classifier_lr: Annotated[float, setting("its step size for b", gt=0)] = 0.01,
    classifier_epochs: Annotated[int, setting("passes of b over A_c", ge=1)] = 100,
    classifier_batch: Annotated[int, setting("images per step of b", ge=1)] = 32,
    balance: Annotated[bool, setting("easy and hard images of A_c weigh the same together")] = False,
    threshold: Annotated[float, setting("probability from which an image is easy; the authors' code has 0.622", gt=0, lt=1)] = 0.5,
    start: Annotated[Literal["original", "twin"], setting("the weights that unlearning starts from")] = "original",
    hard: Annotated[Literal["relabel", "ascent"], setting("hard images get wrong labels, or a rising loss")] = "relabel",
    noise_std: Annotated[float, setting("of the noise on easy images, in [0, 1] pixels", ge=0, le=1)] = 3 / 255,
    retain_fraction: Annotated[float, setting("share of the retain set that unlearning sees", gt=0, le=1)] = 1.0,
    epochs: Annotated[int, setting("passes of unlearning", ge=1)] = 5,
    lr: Annotated[float, setting("SGD's step size", gt=0)] = 0.01,
    momentum: Annotated[float, setting("SGD's momentum", ge=0, lt=1)] = 0.9,
    weight_decay: Annotated[float, setting("L2 penalty on the weights", ge=0)] = 5e-4,
    batch_size: Annotated[int, setting("images per step, of b apart", ge=1)] = 64,
    bn: BatchNorm = "train",
) -> None:  # fmt: skip
    settings = {name: value for name, value in locals().items() if name not in ("run", "model", "splits")}
    twin = twin_of(run, model, splits, twin_epochs, twin_lr, twin_fraction, batch_size) if start == "twin" else None
    easy = predict_easy(run, model, splits, twin, **settings) & ~splits.task.lost(splits.forget.y)
    if twin is not None:
        model.load_state_dict(twin.state_dict())

    forget, retain, task = splits.forget, run.sample(splits.retain, retain_fraction), splits.task
    run.note(f"predicted: {int(easy.sum())} easy images, kept by noisy copies, and {int((~easy).sum())} hard ones, unlearned")
    wrong, own = task.wrong(forget.y, run.noise), forget.y.clone()
    if hard == "relabel":
        own[~easy] = wrong[~easy]
    goal = torch.cat([retain.y, own]).to(run.device)
    kinds = torch.cat([torch.full((len(retain),), RETAIN), torch.where(easy, EASY, HARD)]).to(run.device)

    opt = run.optimizer(model, "sgd", lr=lr, momentum=momentum, weight_decay=weight_decay)
    train_mode(model, bn)
    for _ in run.epochs(epochs, "unlearning", len(goal)):
        for b in run.batches([retain, forget], goal, size=batch_size):
            kind = kinds[b.index]
            loss = task.loss(model(noisy(run, b, kind == EASY, noise_std)), b.extra)
            if hard == "ascent":
                loss = torch.where(kind == HARD, -loss.clamp(max=task.guess), loss)
            run.step(b.mean(loss), opt)


def predict_easy(run: Run, model: nn.Module, splits: Splits, twin: nn.Module | None = None, **settings) -> Tensor:
    """(n,) bool on the CPU: the forget images that a retrained model is thought to get right. The model stays as it is.

    Compare with a retrained model's hits on the forget set for the accuracy of the prediction.

    Args:
        twin: M_t, if there is one already.
        settings: the method's own, at their defaults where not given.
    """
    s = SimpleNamespace(**({name: setting.default for name, setting in tmu.method.settings.items()} | settings))
    forget, others = splits.forget, held_out(splits)
    task, y = splits.task, others.y.to(run.device)
    known = task.correct(run.logits(model, others, "twin problem"), y)  # θ₀ never saw them
    if not torch.isin(task.group(others.y), task.group(forget.y)).all():
        run.note(f"no held-out image has a class of the forget set: all {len(others)} of the selection set stand in")
    needed = "df_af_cf" if s.features == "all" else s.features
    solvable = bool(known.any() and not known.all())
    curriculum = None
    if "cf" in needed or not solvable:
        curriculum = curriculum_of(run, model, splits, s.curriculum_epochs, s.curriculum_lr, s.curriculum_fraction,
                                   s.curriculum_held_out, s.batch_size)  # fmt: skip
    if not solvable:
        share = (int(known.sum()) + 1) / (len(known) + 2)
        run.note(f"all {len(known)} held-out images are {'easy' if known.all() else 'hard'}, which teaches nothing: "
                 f"the forget images with the {1 - share:.0%} largest losses in the curriculum count as hard")  # fmt: skip
        return easiest(loss_of(run, curriculum, forget), share).cpu()

    if twin is None:
        twin = twin_of(run, model, splits, s.twin_epochs, s.twin_lr, s.twin_fraction, s.batch_size)
    near = references(splits, others, s.reference_limit, run.noise)

    def characteristics(net: nn.Module, part: Split, near_net: nn.Module) -> Tensor:
        """(n, d) DF, AF and CF, as many as are needed."""
        found = []
        if "df" in needed:
            distances = distances_of(run, net, part, near_net, near, s.nearest)
            found.append(distances.mean(1, keepdim=True) if s.df == "mean" else distances)
        if "af" in needed:
            found.append(attack_loss_of(run, net, part, s.attack_radius, s.attack_steps)[:, None])
        if "cf" in needed:
            found.append(loss_of(run, curriculum, part)[:, None])
        return torch.cat(found, 1)

    theirs = characteristics(twin, others, twin)
    ours = characteristics(model, forget, twin if s.df_references == "twin" else model)
    by_held_out = s.scaling == "held_out" or len(ours) < FEW
    ours, theirs = unit_scaled(ours, theirs if by_held_out else ours), unit_scaled(theirs, theirs)

    # b learns on A_c what it is then asked on D_f
    b = classifier(run, Features(theirs, known, "held-out"), s.classifier_width, s.classifier_optimizer, s.classifier_lr,
                   s.classifier_epochs, s.classifier_batch, s.balance, seeded(run.seed, "easy or hard"))  # fmt: skip
    with torch.no_grad():
        said, easy = (b(x).squeeze(1).sigmoid() >= s.threshold for x in (theirs, ours))
    right = [int((said == known)[kind].sum()) for kind in (known, ~known)]
    run.note(f"of its own examples the classifier gets {right[0]} of {int(known.sum())} easy and "
             f"{right[1]} of {int((~known).sum())} hard ones right")  # fmt: skip
    return easy.cpu()


def twin_of(run: Run, model: nn.Module, splits: Splits, epochs: int, lr: float, fraction: float, size: int) -> nn.Module:
    """M_t: the original after it saw the held-out images too, to which it is what the original is to the forget set."""
    twin = run.newborn(model, "twin")
    twin.load_state_dict(model.state_dict())
    for mine, theirs in zip(twin.parameters(), model.parameters(), strict=True):
        mine.requires_grad_(theirs.requires_grad)
    parts = [splits.forget, run.sample(splits.retain, fraction), held_out(splits)]
    train(run, twin, run.optimizer(twin, "adam", lr=lr), parts, splits.task.loss, "twin", epochs, size, "train")
    return twin.eval()


def curriculum_of(run: Run, model: nn.Module, splits: Splits, epochs: int, lr: float, fraction: float, with_held_out: bool,
                  size: int) -> nn.Module:  # fmt: skip
    """M_r: a new network that has barely begun to learn, so that its loss says how soon an image is learned."""
    net, some = run.newborn(model, "curriculum"), run.sample(splits.retain, fraction)
    prepare(run, net, some)
    for name, p in net.named_parameters():
        p.requires_grad_(name not in run.recipe.frozen)
    parts = [some, splits.forget, *([held_out(splits)] if with_held_out else [])]
    train(run, net, run.optimizer(net, "adam", lr=lr), parts, splits.task.loss, "curriculum", epochs, size, "train")
    return net.eval()
