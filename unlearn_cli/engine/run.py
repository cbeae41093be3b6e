"""Run: one method on one model. Devices, precision, seeds, ranks, progress and counts live below it, behind a few verbs.

    Networks             models taken in, and given back as they came
    Loader → Passes      images by batches, shuffled for steps or in order for a look
    Stepper              the optimiser's steps, summed over ranks, their losses watched
    Clock, Trajectory    what is told of it afterwards
"""

import copy
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from unlearn_cli.data.splits import Split
from unlearn_cli.engine import optim
from unlearn_cli.engine.batches import Augmentation, Batch, Features, seeded
from unlearn_cli.engine.clock import Clock
from unlearn_cli.engine.loader import Loader, Source
from unlearn_cli.engine.networks import Networks
from unlearn_cli.engine.options import Options
from unlearn_cli.engine.passes import Passes
from unlearn_cli.engine.precision import find_precision
from unlearn_cli.engine.ranks import Ranks
from unlearn_cli.engine.stepping import Stepper
from unlearn_cli.engine.trajectory import Trajectory
from unlearn_cli.models.recipes import Recipe
from unlearn_cli.ops.features import Backbone
from unlearn_cli.ops.pixels import Pixels

__all__ = ["Options", "Run", "deterministic"]


class Run:
    """Everything a method may ask of its surroundings.

    Args:
        options: device, precision, seed, progress.
        mean, std: the record's normalisation, in units of [0, 1] pixels, one number per channel.
        fresh: builds the architecture with new weights from a seed (`retrain` and its like).
        recipe: the recipe the model was trained with.
        begun: the network as that training began, where it began with another file's weights; a head that was new then is
            drawn from a seed.
    """

    def __init__(
        self,
        options: Options,
        mean: list[float],
        std: list[float],
        fresh: Callable[[int], nn.Module] | None = None,
        recipe: Recipe | None = None,
        begun: Callable[[int], nn.Module] | None = None,
    ):
        self.device = options.place()
        self.precision = find_precision(options.precision, self.device)
        self.dtype = torch.float64 if self.precision == torch.float64 else torch.float32
        self.ranks = Ranks(self.device)
        self.seed, self.progress = options.seed, options.progress
        self.mean, self.std = mean, std
        self.pixels = Pixels(mean, std, self.device, self.dtype)
        self.fresh, self.recipe, self.begun = fresh, recipe, begun
        self.inference_batch = 125 if self.device.type == "cpu" else 1000
        self.noise = seeded(self.seed, "noise")
        self.stopped_by = "the end of its schedule"
        self.notes: list[str] = []
        self.settled: dict[str, Any] = {}
        self.seconds = 0.0
        self.trajectory = Trajectory()
        self._networks = Networks(self.device, self.dtype, self.precision, self.ranks)
        self._stepper = Stepper(self.device, self.precision, self.ranks)
        self._loader = Loader(self.device, self.dtype, self.ranks, mean, std)
        self.passes = Passes(self._loader, self.seed, self.progress, self._stepper.last_loss)
        self._clock = Clock(self.device)
        self._stopped = False

    # the model

    def adopted(self, model: nn.Module, head: str) -> AbstractContextManager[nn.Module]:
        """Bring a model to the device, precision and memory format of this run; give it back as it was."""
        return self._networks.adopted(model, head)

    def split(self, model: nn.Module) -> tuple[Backbone, nn.Linear]:
        """Backbone and head of an adopted model."""
        head = self._networks.head(model)
        return Backbone(model, head), head

    def teacher(self, model: nn.Module) -> nn.Module:
        """A frozen copy in eval mode, as the model is now."""
        return copy.deepcopy(model).eval().requires_grad_(False)

    def newborn(self, model: nn.Module, purpose: str) -> nn.Module:
        """A network of an adopted model's architecture with new weights, in eval mode; each purpose has its own."""
        seed = seeded(self.seed, "weights", purpose).initial_seed()
        return self._networks.take_in(self.fresh(seed), self._networks.head_name(model)).eval()

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
        return self.passes.batches(source, extra, size, shuffle, augment)

    def paired(self, forget: Source, retain: Source, *, size: int, extra: Tensor | None = None,
               augment: Augmentation | None = None) -> Iterator[tuple[Batch, Batch]]:  # fmt: skip
        """(forget batch, retain batch) pairs over one pass of the retain set; the forget set starts again when it ends.

        An epoch is defined by the retain set, so the forget set is seen len(retain) / len(forget) times. `extra` has a
        row per forget image.
        """
        again = self.passes.again(forget, extra, size, augment)
        return zip(again, self.batches(retain, size=size, augment=augment), strict=False)

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

    @property
    def images_read(self) -> Counter[str]:
        """Images read so far, per split."""
        return self._loader.images_read

    # steps

    def step(self, loss: Tensor, opt: optim.Optimizer, *, lr: float | None = None, clip: float | None = None) -> None:
        """One optimiser step: the only place with a backward pass, sums over ranks and the check for finite losses.

        Args:
            loss: scalar, this process's part of the whole batch's mean loss (`Batch.mean`).
            clip: largest norm of the whole gradient; larger ones are scaled down to it.
        """
        self.trajectory.loss(self._stepper.step(loss, opt, lr, clip))

    @property
    def steps(self) -> int:
        """Steps taken so far."""
        return self._stepper.taken

    def check_losses(self) -> None:
        """Stop the run if a loss since the last look was not finite."""
        self._stepper.check_losses()

    # passes without gradients

    def over(self, split: Split, function: Callable[[Batch], Tensor], *models: nn.Module, phase: str) -> Tensor:
        """function(batch) for every image of a split, in order and in eval mode; rows stay on the device, on all ranks."""
        return self.passes.over(split, function, models, phase, self.inference_batch)

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

    def correct(self, model: nn.Module, split: Split) -> int:
        """How many images of a split are given their own label."""
        return int(split.task.correct(self.logits(model, split, "checking"), split.y.to(self.device)).sum())

    # the end

    def stop(self, reason: str) -> None:
        """Record why the method ended before its schedule did."""
        self.stopped_by, self._stopped = reason, True

    def settle(self, name: str, value: Any) -> Any:
        """The value of a setting that the method found by itself; it is recorded as the one that ran."""
        self.settled[name] = value
        return value

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
                    self._record(phase, epoch + 1)
                self.progress.end()

    # time

    @contextmanager
    def timed(self) -> Iterator[None]:
        """The method's own seconds: its passes and steps, with the device idle at both ends."""
        with self._clock.running():
            self._record("start", 0)
            yield
            self.check_losses()
            self._clock.settle()
            self.seconds = self._clock.elapsed()
            self._record("end", 0)

    def _record(self, phase: str, epoch: int) -> None:
        """A row of the trajectory; looking counts neither as reading nor as time."""
        if self.trajectory.look is None:
            return
        seconds, read = self._clock.elapsed(), Counter(self.images_read)
        with self._clock.paused():
            self.trajectory.row(phase, epoch, self.steps, read.total(), seconds)
        self.images_read.clear()
        self.images_read.update(read)


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
