"""SULI: chunk by chunk, the most uncertain images first, teach the model its own word without the label that is to vanish.

    D_f sorted by H(σ(f_θ₀(x))), highest first, in chunks D_1 .. D_t; for each, up to `passes` times round:
    q_y = ε,  q_k = (1 - ε) · p_k / Σ_{j≠y} p_j,  p = σ(f_θ(x_i) / τ)         y: the forgotten classes, or the image's own
    θ ← a new Adam's step on mean_{D_i} KL(q ‖ σ(f_θ(x_i) / τ))               undone where acc(D_f) rose
    until acc(D_f) ≤ stop_accuracy

"Fine-Grained and Efficient Self-Unlearning with Layered Iteration", 2025, Algorithm 1, in the form of the authors' code. At
ε = 0 and τ = 1 the loss is -log(1 - p_y), and one step of a new Adam is descent by the gradient's sign: every weight moves
by lr at most. Networks much smaller than ResNet-18 may want lr between 1e-4 and 1e-3. A chunk is one batch.
Departures: BatchNorm keeps its statistics, which the forget set alone would drag along (bn=train for the published
behaviour), and q comes from the forward pass that is learned from; the authors' code makes two, which differ only in
what they do to BatchNorm's statistics and dropout (forwards=2). Listed images lose their own label, as the paper has it;
the code takes away the prediction, which for an image already forgotten may bring its label back (spa_label=argmax). ε is 0
as in the code; the paper's small number is not given. Chunks are the code's 500 of a class and halves of a listed set, so
by default 500 images or half the forget set, whichever is less; an image left over joins the chunk before it. The accuracy
at which listed images count as forgotten comes from the selection set, a fifth of the test images, where the authors set
aside 1 % of the training images, and its classes weigh as in the list. With several classes, ε is shared among them, and
an image given any of them is not forgotten yet.
"""

import copy
from typing import Annotated, Literal

import torch
from torch import Tensor, nn

from unlearn_cli.data.splits import Splits
from unlearn_cli.engine.run import Run
from unlearn_cli.methods import BatchNorm, method, setting
from unlearn_cli.ops.losses import entropy, kl
from unlearn_cli.ops.modes import train_mode
from unlearn_cli.ops.relabel import without
from unlearn_cli.techniques.stopping import goal_of, still_known


@method("Self-Unlearning with Layered Iteration", paper="SULI, 2025", scope="class classes instances", reads="forget",
        instances_read="selection")  # fmt: skip
def suli(
    run: Run, model: nn.Module, splits: Splits, *,
    passes: Annotated[int, setting("times round the chunks, at most", ge=1)] = 10,
    chunk_size: Annotated[
        int | None, setting("images per chunk", when={"layers": None}, computed="500, or half the forget set if less", ge=1)
    ] = None,
    layers: Annotated[int | None, setting("number of chunks, of two images at least", none="by chunk_size", ge=1)] = None,
    steps_per_chunk: Annotated[int, setting("steps towards a chunk's target before the next chunk", ge=1)] = 1,
    lr: Annotated[float, setting("Adam's step size", images=8e-5, gt=0)] = 1e-4,
    weight_decay: Annotated[float, setting("L2 penalty on the weights", ge=0)] = 0.0,
    temperature: Annotated[float, setting("softens both sides", ge=1)] = 1.0,
    epsilon: Annotated[float, setting("probability left to what is to vanish", ge=0, lt=1)] = 0.0,
    spa_label: Annotated[Literal["true", "argmax"], setting("what each loses: its label or the answer", only="images")] = "true",
    forwards: Annotated[int, setting("2 makes the target in a forward pass of its own", ge=1, le=2)] = 1,
    rollback: Annotated[bool, setting("undo chunks that raised the forget accuracy", images=False)] = True,
    check_every: Annotated[int, setting("chunks between two looks at the forget accuracy; each pass ends with one", ge=1)] = 1,
    stop_accuracy: Annotated[
        float | None,
        setting("forget accuracy that ends it", classes=0.0, computed="the original's on unseen ones", ge=0, le=1),
    ] = None,
    bn: BatchNorm = "eval",
) -> None:  # fmt: skip
    forget = splits.forget
    if stop_accuracy is None:
        stop_accuracy = run.settle("stop_accuracy", goal_of(run, model, splits))
    if layers is None and chunk_size is None:
        chunk_size = run.settle("chunk_size", usual_size(len(forget)))

    def target_of(logits: Tensor, y: Tensor) -> Tensor:
        label = y if spa_label == "true" else splits.task.answer(logits)
        return without(logits, splits.task.vanishing(label), temperature, epsilon)

    chunks = layered(run.logits(model, forget, "entropies"), chunk_size, layers)
    known = saved = None
    train_mode(model, bn)
    for number in run.epochs(passes, "self-unlearning in layers", forget):
        for i, chunk in enumerate(chunks, 1):
            opt = run.optimizer(model, "adam", lr=lr, weight_decay=weight_decay)  # a new one: its step is the sign
            for b in run.batches(forget.subset(chunk), size=len(chunk)):  # one batch
                target = None
                if forwards == 2:
                    with torch.no_grad():
                        target = target_of(model(b.x), b.y)
                for _ in range(steps_per_chunk):
                    logits = model(b.x)
                    if target is None:
                        target = target_of(logits, b.y)
                    run.step(b.mean(kl(target, logits, temperature)), opt)
            if i % check_every and i < len(chunks):
                continue
            now = still_known(run, model, forget)
            if saved is not None and now > known:
                model.load_state_dict(saved)
                continue
            known = now
            if known / len(forget) <= stop_accuracy:
                return run.stop(f"the forget accuracy reached {stop_accuracy:.4g}, pass {number + 1}, chunk {i} of {len(chunks)}")
            saved = copy.deepcopy(model.state_dict()) if rollback else None
    run.note(f"the budget of {passes} passes ended with {known} of {len(forget)} forget images known")


def usual_size(n: int) -> int:
    """Of a chunk of n images: 500, or half of them if that is less."""
    return max(2, min(500, -(-n // 2)))


def layered(logits: Tensor, size: int | None = None, layers: int | None = None) -> list[Tensor]:
    """Positions of the images, highest entropy first and ties in order, in consecutive chunks of a size or a number.

    No image is left over for a chunk of its own, on which BatchNorm in train mode would have nothing to normalise by.
    """
    order = entropy(logits).argsort(descending=True, stable=True).cpu()
    n = len(order)
    if layers is not None:
        return list(order.tensor_split(max(1, min(layers, n // 2))))
    chunks = list(order.split(size or usual_size(n)))
    if len(chunks[-1]) == 1 < len(chunks[0]):
        chunks[-2:] = [torch.cat(chunks[-2:])]
    return chunks
