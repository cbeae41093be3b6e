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

from unlearn_cli.data.splits import Split
from unlearn_cli.engine import optim
from unlearn_cli.engine.batches import Augmentation, Batch, Features, seeded
from unlearn_cli.engine.loader import Loader, Source
from unlearn_cli.engine.precision import LossScale, find_device, find_precision, restore_forward, run_in
from unlearn_cli.engine.progress import Silent
from unlearn_cli.engine.ranks import Ranks
from unlearn_cli.engine.trajectory import Trajectory
from unlearn_cli.errors import UnlearnError
from unlearn_cli.models.recipes import Recipe
from unlearn_cli.ops.features import Backbone
from unlearn_cli.ops.pixels import Pixels

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
        fresh: builds the architecture with new weights from a seed (`retrain` and its like).
        recipe: the recipe the model was trained with.
    """

    def __init__(
        self,
        options: Options,
        mean: list[float],
        std: list[float],
        fresh: Callable[[int], nn.Module] | None = None,
        recipe: Recipe | None = None,
    ):
        self.device = options.place()
        self.precision = find_precision(options.precision, self.device)
        self.scale = LossScale() if self.precision == torch.float16 else None
        self.dtype = torch.float64 if self.precision == torch.float64 else torch.float32
        self.ranks = Ranks(self.device)
        self.seed, self.progress = options.seed, options.progress
        self.mean, self.std = mean, std
        self.pixels = Pixels(mean, std, self.device, self.dtype)
        self.fresh, self.recipe = fresh, recipe
        self.loader = Loader(self.device, self.dtype, self.ranks, mean, std)
        self.stopped_by = "the end of its schedule"
        self.notes: list[str] = []
        self.seconds = 0.0
        self.passes = 0
        self.steps = 0
        self.inference_batch = 125 if self.device.type == "cpu" else 1000
        self.noise = seeded(self.seed, "noise")
        self.trajectory = Trajectory()
        self._heads: dict[nn.Module, nn.Linear] = {}
        self._clock: float | None = None
        self._stopped = False
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

    def newborn(self, model: nn.Module, purpose: str) -> nn.Module:
        """A network of an adopted model's architecture with new weights, in eval mode; each purpose has its own."""
        head = next(name for name, module in model.named_modules() if module is self._heads[model])
        seed = seeded(self.seed, "weights", purpose).initial_seed()
        return self.take_in(self.fresh(seed), head).eval()

    def optimizer(self, trained: nn.Module | Iterable, name: str = "sgd", **settings) -> optim.Optimizer:
        """sgd | adam | adamw over what requires a gradient; settings as in `engine.optim`.

        Args:
            trained: a module, parameters, or (parameters, factor on the rate) pairs.
        """
        return optim.make(name, trained.parameters() if isinstance(trained, nn.Module) else trained, **settings)

    # images

    def batches(
        self,
        source: Source | list[Source],
        extra: Tensor | None = None,
        *,
        size: int,
        shuffle: bool = True,
        augment: Augmentation | None = None,
    ) -> Iterator[Batch]:
        """One pass over a split or kept tensors, in batches of at most `size` over all processes.

        A list of them is one data set: shuffled together, several of them in a batch. `extra` has a row for each image
        of `source`, and comes along with it.
        """
        for b in self._batches(source, extra, size, shuffle, augment):
            yield b
            self.progress.advance(b.size, self.last_loss if shuffle else None)

    def _batches(self, source, extra, size, shuffle=True, augment=None) -> Iterator[Batch]:
        parts = source if isinstance(source, list) else [source]
        n, number = sum(map(len, parts)), self.passes
        if not shuffle:
            return self.loader.batches(parts, extra, torch.arange(n), size)
        self.passes += 1
        order = torch.randperm(n, generator=seeded(self.seed, "order", number))
        draw = seeded(self.seed, "augmentation", number)
        return self.loader.batches(parts, extra, order, size, augment, draw, number)

    def paired(self, forget: Source, retain: Source, *, size: int, extra: Tensor | None = None,
               augment: Augmentation | None = None):  # fmt: skip
        """(forget batch, retain batch) pairs over one pass of the retain set; the forget set starts again when it ends.

        An epoch is defined by the retain set, so the forget set is seen len(retain) / len(forget) times. `extra` has a
        row per forget image.
        """

        def again() -> Iterator[Batch]:
            while True:
                yield from self._batches(forget, extra, size, augment=augment)

        yield from zip(again(), self.batches(retain, size=size, augment=augment), strict=False)

    def draw(self, batch: Batch, low: int, high: int) -> Tensor:
        """One integer from [low, high) per image, the same for an image whatever the number of processes; (n,)."""
        return torch.randint(low, high, (batch.size,), generator=self.noise)[batch.share].to(self.device, non_blocking=True)

    def gaussian(self, batch: Batch) -> Tensor:
        """Standard normal numbers in the shape of the batch's images, the same whatever the number of processes."""
        drawn = torch.randn(batch.size, *batch.x.shape[1:], generator=self.noise)[batch.share]
        return drawn.to(self.device, self.dtype, non_blocking=True)

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
        self.trajectory.loss(total)
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
                last = f" (last finite value {self._finite:.4g})" if math.isfinite(self._finite) else ""
                raise UnlearnError(
                    f"stopped at step {number}: the loss is no longer finite{last}.",
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
        function = self.pixels.into(model)
        return self.over(split, lambda b: function(attack(function, self.pixels.of(b.x), b.y)), model, phase=phase)

    def correct(self, model: nn.Module, source: Split | Features) -> int:
        """How many images of a split (or of kept features, for a head) are given their own label."""
        if isinstance(source, Features):
            with torch.no_grad():
                return int((model(source.x).argmax(1) == source.y).sum())
        return int((self.logits(model, source, "checking").argmax(1) == source.y.to(self.device)).sum())

    # the end

    def stop(self, reason: str) -> None:
        """Record why the method ended before its schedule did."""
        self.stopped_by, self._stopped = reason, True

    def note(self, text: str) -> None:
        """Something the user should read beside the result."""
        self.notes.append(text)

    # epochs

    def epochs(self, count: int, phase: str, images: Source | int) -> Iterator[int]:
        """0, 1, .. count - 1: a method's epochs, shown as progress over `images` each, and recorded at their ends.

        A method that calls `stop` may return within one; that epoch is recorded as well.
        """
        total = images if isinstance(images, int) else len(images)
        for epoch in range(count):
            self.progress.start(f"{phase}, epoch {epoch + 1} of {count}", total)
            over = True
            try:
                yield epoch
            except GeneratorExit:
                over = self._stopped  # otherwise an error ended the run, and nobody looks any more
                raise
            finally:
                if over:
                    self.trajectory.row(self, phase, epoch + 1)
                self.progress.end()

    @property
    def images_read(self) -> Counter[str]:
        """Images read so far, per split."""
        return self.loader.images_read

    @contextmanager
    def timed(self) -> Iterator[None]:
        """The method's own seconds: its passes and steps, with the device idle at both ends."""
        self._settle()
        self._clock = time.perf_counter()
        try:
            self.trajectory.row(self, "start", 0)
            yield
            self.check_losses()
            self._settle()
            self.seconds = self.elapsed()
            self.trajectory.row(self, "end", 0)
        finally:
            self._clock = None

    def elapsed(self) -> float:
        """The method's own seconds so far; looking at its trajectory does not count."""
        return time.perf_counter() - self._clock - self.trajectory.seconds

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
