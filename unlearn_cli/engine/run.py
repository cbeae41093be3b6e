"""Run: one method on one model. Devices, precision, seeds, ranks, progress and counts live here, behind a few verbs."""

import copy
import math
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from unlearn_cli.data import augment as pixels
from unlearn_cli.data.splits import Split
from unlearn_cli.engine import optim
from unlearn_cli.engine.batches import Augmentation, Batch, Features, seeded
from unlearn_cli.engine.precision import LossScale, find_device, find_precision, restore_forward, run_in
from unlearn_cli.engine.progress import Silent
from unlearn_cli.engine.ranks import Ranks
from unlearn_cli.errors import UnlearnError
from unlearn_cli.models.recipes import Recipe
from unlearn_cli.ops.features import Backbone

LOOK = 32
"""On a GPU losses are inspected this many steps at a time: looking at each would wait for the device."""


@dataclass(frozen=True)
class Options:
    """What means the same in every command; `cache_limit` is in bytes of decoded pixels."""

    device: str = "auto"
    precision: str = "auto"
    seed: int = 0
    force: bool = False
    cache_limit: int = 4 << 30
    progress: Silent = field(default_factory=Silent)

    def __post_init__(self):
        if not -(2**63) <= self.seed < 2**63:
            raise UnlearnError(f"{self.seed} is no seed: it is too large.", "pass a whole number of at most 18 digits.")

    def place(self) -> torch.device:
        """The device of this process; under torchrun each has its own."""
        local = os.environ.get("LOCAL_RANK")
        return find_device(self.device, int(local) if local else None)


class Run:
    """Everything a method may ask of its surroundings.

    Args:
        options: device, precision, seed, progress.
        mean, std: the record's normalisation, in units of [0, 1] pixels, one number per channel.
        fresh: builds the architecture with new weights (`retrain` and its like).
        recipe: the recipe the model was trained with.
    """

    def __init__(
        self,
        options: Options,
        mean: list[float],
        std: list[float],
        fresh: Callable[[], nn.Module] | None = None,
        recipe: Recipe | None = None,
    ):
        self.device = options.place()
        self.precision = find_precision(options.precision, self.device)
        self.scale = LossScale() if self.precision == torch.float16 else None
        self.dtype = torch.float64 if self.precision == torch.float64 else torch.float32
        self.ranks = Ranks(self.device)
        self.seed, self.progress = options.seed, options.progress
        self.mean, self.std = mean, std
        self.fresh, self.recipe = fresh, recipe
        self.images_read: Counter[str] = Counter()
        self.stopped_by = "the end of its schedule"
        self.notes: list[str] = []
        self.seconds = 0.0
        self.passes = 0
        self.steps = 0
        self.inference_batch = 125 if self.device.type == "cpu" else 1000
        self.noise = seeded(self.seed, "noise")
        self._heads: dict[nn.Module, nn.Linear] = {}
        self._resident: dict[int, Tensor] = {}
        self._losses: list[Tensor] = []
        self._watched = 0
        self._finite = math.nan

    # the model

    @contextmanager
    def adopted(self, model: nn.Module, head: str) -> Iterator[nn.Module]:
        """Bring a model to the device, precision and memory format of this run; give it back as it was."""
        training = {module: module.training for module in model.modules()}
        wanted = {p: p.requires_grad for p in model.parameters()}
        place, dtype = (getattr(next(model.parameters()), what) for what in ("device", "dtype"))
        self.take_in(model, head)
        try:
            yield model
        finally:
            restore_forward(model)
            self._heads.pop(model, None)
            for module, mode in training.items():
                module.training = mode
            for p, flag in wanted.items():
                p.requires_grad_(flag)
                p.grad = None
            model.to(place, dtype)

    def take_in(self, model: nn.Module, head: str) -> nn.Module:
        """`adopted` without the way back, for models that the run itself made."""
        model.to(self.device, self.dtype, memory_format=torch.channels_last)
        layer = model.get_submodule(head)
        run_in(model, layer, self.precision)
        self.ranks.synchronise_batchnorm(model)
        self._heads[model] = layer
        return model

    def split(self, model: nn.Module) -> tuple[Backbone, nn.Linear]:
        """Backbone and head of an adopted model."""
        return Backbone(model, self._heads[model]), self._heads[model]

    def teacher(self, model: nn.Module) -> nn.Module:
        """A frozen copy in eval mode, as the model is now."""
        return copy.deepcopy(model).eval().requires_grad_(False)

    def optimizer(self, trained: nn.Module | Iterable[nn.Parameter], name: str = "sgd", **settings) -> optim.Optimizer:
        """sgd | adam | adamw over what requires a gradient; settings as in `engine.optim`."""
        return optim.make(name, trained.parameters() if isinstance(trained, nn.Module) else trained, **settings)

    # images

    def batches(
        self,
        source: Split | Features,
        extra: Tensor | None = None,
        *,
        size: int,
        shuffle: bool = True,
        augment: Augmentation | None = None,
    ) -> Iterator[Batch]:
        """One pass over a split or kept features, in batches of at most `size` over all processes.

        The batches are of equal size, give or take one image: a short last one would sway BatchNorm's statistics.
        """
        n, number = len(source), self.passes
        if shuffle:
            order = torch.randperm(n, generator=seeded(self.seed, "order", number))
            draw = seeded(self.seed, "augmentation", number)
            self.passes += 1
        else:
            order, draw = torch.arange(n), None
        count = -(-n // size)
        wholes = order.tensor_split(count)
        shares = [self.ranks.slice(len(whole)) for whole in wholes]
        placed = order.to(self.device).tensor_split(count)  # once per pass: a copy per batch would wait for the device
        mine = [whole[share] for whole, share in zip(placed, shares, strict=True)]
        images = (source.x[here] for here in mine) if isinstance(source, Features) else self._pixels(source, mine)
        labels = source.y.to(self.device)
        for whole, share, here, x in zip(wholes, shares, mine, images, strict=True):
            if not isinstance(source, Features):
                self.images_read[source.name] += len(whole)
                if augment and draw is not None:
                    x = self._augmented(x, whole, share, augment, draw, number)
                x = pixels.normalise(x, self.mean, self.std, self.dtype)
            yield Batch(x, labels[here], None if extra is None else extra[here], here, len(whole), share)

    def paired(self, forget: Split, retain: Split, *, size: int, augment: Augmentation | None = None):
        """(forget batch, retain batch) pairs over one pass of the retain set; the forget set starts again when it ends.

        An epoch is defined by the retain set, so the forget set is seen len(retain) / len(forget) times.
        """

        def again() -> Iterator[Batch]:
            while True:
                yield from self.batches(forget, size=size, augment=augment)

        yield from zip(again(), self.batches(retain, size=size, augment=augment), strict=False)

    def draw(self, batch: Batch, low: int, high: int) -> Tensor:
        """One integer from [low, high) per image, the same for an image whatever the number of processes; (n,)."""
        return torch.randint(low, high, (batch.size,), generator=self.noise)[batch.share].to(self.device, non_blocking=True)

    def _pixels(self, split: Split, mine: list[Tensor]) -> Iterator[Tensor]:
        """uint8 (n, H, W, C) batches on the device; off the CPU the decoded images are moved there once."""
        store = split.images
        if store.pixels is None or self.device.type == "cpu":
            chosen = store.stream(split.index[here.cpu()] for here in mine)  # on the CPU already, or bound by decoding
            return (x.to(self.device, non_blocking=True) for x in chosen)
        if id(store) not in self._resident:
            self._resident[id(store)] = store.pixels.to(self.device)
        there, rows = self._resident[id(store)], split.index.to(self.device)
        return (there[rows[here]] for here in mine)

    def _augmented(self, x: Tensor, whole: Tensor, share: slice, how: Augmentation, draw: torch.Generator, number: int) -> Tensor:
        rows, columns, flips = pixels.draws(
            draw, len(whole), padding=how.padding, flip_mode=how.flip, epoch=number, index=whole
        )
        there = [t[share].to(self.device, non_blocking=True) for t in (rows, columns, flips)]
        return pixels.augment(x, *there, how.padding)

    def sample(self, split: Split, share: float) -> Split:
        """A random share of a split, at least one image; the split itself at share 1."""
        if share == 1:
            return split
        chosen = torch.randperm(len(split), generator=self.noise)[: max(1, round(share * len(split)))]
        return split.subset(chosen.sort().values)

    # steps

    def step(self, loss: Tensor, opt: optim.Optimizer, *, lr: float | None = None, clip: float | None = None) -> None:
        """One optimiser step: the only place with a backward pass, sums over ranks and the check for finite losses.

        Args:
            loss: scalar, this process's part of the whole batch's mean loss (`Batch.mean`).
            clip: largest norm of the whole gradient; larger ones are scaled down to it.
        """
        opt.zero_grad()
        (loss if self.scale is None else loss * self.scale.value).backward()
        total = loss.detach().clone()
        if self.ranks.world > 1:
            total = self._sum_gradients(opt, total)
        self._watch(total)
        grads = [p.grad for p in opt.params if p.grad is not None]
        if self.scale is not None and not self.scale.unscale_(grads):
            return
        if clip is not None:
            norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(g) for g in grads]))
            torch._foreach_mul_(grads, (clip / norm.clamp(min=1e-12)).clamp(max=1.0))
        opt.step(lr)
        self.steps += 1

    def _sum_gradients(self, opt: optim.Optimizer, loss: Tensor) -> Tensor:
        """Gradients and loss in one buffer, summed over ranks in one call."""
        for p in opt.params:
            if p.grad is None:
                p.grad = torch.zeros_like(p)
        flat = self.ranks.sum_(torch.cat([loss.reshape(1), *(p.grad.reshape(-1) for p in opt.params)]))
        for p, part in zip(opt.params, flat[1:].split([p.numel() for p in opt.params]), strict=True):
            p.grad = part.view_as(p)
        return flat[0]

    def _watch(self, loss: Tensor) -> None:
        self._losses.append(loss)
        self._watched += 1
        if self.device.type == "cpu" or len(self._losses) == LOOK:
            self.check_losses()

    def check_losses(self) -> None:
        """Stop the run if a loss since the last look was not finite."""
        seen, self._losses = torch.stack(self._losses).tolist() if self._losses else [], []
        for number, value in enumerate(seen, self._watched - len(seen) + 1):
            if not math.isfinite(value):
                raise UnlearnError(
                    f"stopped at step {number}: the loss is no longer finite "
                    f"(last finite value {self._finite:.4g}).",
                    "lower the learning rate (--set lr=...); nothing was written.",
                )
            self._finite = value

    def last_loss(self) -> float:
        """The latest loss known without waiting for the device."""
        return self._finite

    # passes without gradients

    @torch.no_grad()
    def over(self, split: Split, function: Callable[[Batch], Tensor], *models: nn.Module, phase: str) -> Tensor:
        """function(batch) for every image of a split, in order and in eval mode; rows stay on the device, on all ranks."""
        modes = [(module, module.training) for model in models for module in model.modules()]
        for model in models:
            model.eval()
        self.progress.start(phase, len(split))
        out = None
        start = 0
        for b in self.batches(split, size=self.inference_batch, shuffle=False):
            y = function(b)
            if out is None:
                out = y.new_zeros(len(split), *y.shape[1:])
            out[start + b.share.start : start + b.share.stop] = y
            start += b.size
            self.progress.advance(b.size)
        self.progress.end()
        for module, mode in modes:
            module.training = mode
        return self.ranks.sum_(out)

    def logits(self, model: nn.Module, split: Split, phase: str = "reading") -> Tensor:
        """(n, C) logits of a split, in eval mode."""
        return self.over(split, lambda b: model(b.x), model, phase=phase)

    def features(self, backbone: Backbone, split: Split, phase: str = "features") -> Features:
        """The split's penultimate features, read once and kept: exact while the backbone does not change."""
        x = self.over(split, lambda b: backbone(b.x), backbone.model, phase=phase)
        return Features(x, split.y.to(self.device), split.name)

    def attacked(self, model: nn.Module, split: Split, attack: Callable[..., Tensor], phase: str = "attack") -> Tensor:
        """(n, C) logits of a split's images after attack(function, pixels, labels); pixels in [0, 1], weights frozen."""
        mean, std = (torch.tensor(v, device=self.device, dtype=self.dtype).view(1, -1, 1, 1) for v in (self.mean, self.std))

        def on_pixels(p: Tensor) -> Tensor:
            return model((p - mean) / std)

        return self.over(split, lambda b: on_pixels(attack(on_pixels, b.x * std + mean, b.y)), model, phase=phase)

    def correct(self, model: nn.Module, source: Split | Features) -> int:
        """How many images of a split (or of kept features, for a head) are given their own label."""
        if isinstance(source, Features):
            with torch.no_grad():
                return int((model(source.x).argmax(1) == source.y).sum())
        return int((self.logits(model, source, "checking").argmax(1) == source.y.to(self.device)).sum())

    # the end

    def stop(self, reason: str) -> None:
        """Record why the method ended before its schedule did."""
        self.stopped_by = reason

    def note(self, text: str) -> None:
        """Something the user should read beside the result."""
        self.notes.append(text)

    @contextmanager
    def timed(self) -> Iterator[None]:
        """The method's own seconds: its passes and steps, with the device idle at both ends."""
        self._settle()
        start = time.perf_counter()
        yield
        self.check_losses()
        self._settle()
        self.seconds = time.perf_counter() - start

    def _settle(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


@contextmanager
def deterministic(run: Run) -> Iterator[None]:
    """Same command, same tensors: seeded global generators and cuDNN's repeatable kernels, both left as found."""
    cudnn = torch.backends.cudnn
    flags = cudnn.deterministic, cudnn.benchmark
    with torch.random.fork_rng([run.device] if run.device.type == "cuda" else []):
        torch.manual_seed(run.seed)
        cudnn.deterministic, cudnn.benchmark = True, False
        try:
            yield
        finally:
            cudnn.deterministic, cudnn.benchmark = flags
