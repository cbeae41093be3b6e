"""What earlier requests forgot is taught to nobody, whatever a method takes for the label of a forget image."""

from dataclasses import replace

import pytest
import torch
from toys import listed

from tests.quick import quick
from unlearn_cli import methods
from unlearn_cli.cases.unlearning import unlearn
from unlearn_cli.data.requests import Request, resolve
from unlearn_cli.data.splits import split
from unlearn_cli.engine.batches import Features
from unlearn_cli.engine.run import Options, Run
from unlearn_cli.methods.mask import mask

TEACHING = {
    "random-label": {},
    "amnesiac": {},
    "initial-label": {},
    "bad-teacher": {"pairing": "cycle"},
    "boundary-shrink": {},
    "lau": {"radius": 5.0, "step": 2.5},
    "adv-imp": {"forget_term": "relabel"},
    "tmu": {"hard": "relabel"},
}
"""Methods that give forget images a label or a target of their own making."""


def taught(toy, name, earlier, monkeypatch):
    """The labels that forget images were shown with, in a run for which these classes were forgotten before."""
    seen, batches, paired = [], Run.batches, Run.paired

    def note(source, extra):
        for part in source if isinstance(source, list) else [source]:
            if isinstance(part, Features) and part.name == "adversarial":
                seen.append(part.y)
        if extra is not None and (extra.dim() == 2 or not extra.is_floating_point()):
            own = extra if extra.dim() == 1 else extra.argmax(1)
            seen.append(own[-forget:].cpu())

    def look(self, source, extra=None, **more):
        note(source, extra)
        return batches(self, source, extra, **more)

    def look_paired(self, one, other, *, extra=None, **more):
        note(one, extra)
        return paired(self, one, other, extra=extra, **more)

    loaded, method = toy.load(), methods.get(name)
    target = resolve(Request(("3",)) if "class" in method.scope else listed(toy, 40), loaded.folder)
    target = replace(target, task=replace(target.task, earlier=earlier))
    forget = len(target.images)
    monkeypatch.setattr(Run, "batches", look)
    monkeypatch.setattr(Run, "paired", look_paired)
    values = method.parse(quick(name, target.kind) | TEACHING[name], target.kind)
    unlearn(loaded, method, values, target, Options(device="cpu", precision="float32"))
    return torch.cat(seen)


@pytest.mark.parametrize("name", TEACHING)
def test_no_forget_image_is_taught_as_a_class_that_was_forgotten_before(name, toy, monkeypatch):
    with monkeypatch.context() as patch:
        free = taught(toy, name, (), patch)
    common = free.bincount(minlength=10)
    common[3] = 0
    earlier = tuple(common.topk(2).indices.tolist())
    with monkeypatch.context() as patch:
        bound = taught(toy, name, earlier, patch)
    assert torch.isin(free, torch.tensor(earlier)).any()
    assert not torch.isin(bound, torch.tensor(earlier)).any()


@pytest.mark.parametrize("bias", [True, False])
def test_a_second_mask_keeps_the_first(toy, bias):
    """Without a bias a masked row is a mean of others: one made of a row that is masked now would win where that did."""
    loaded = toy.load()
    if not bias:
        loaded.model.head.bias = None
    run = loaded.run(Options(device="cpu", precision="float64"))
    first = resolve(Request(("1",)), loaded.folder)
    second = resolve(Request(("2",)), loaded.folder)
    later = replace(second, task=replace(second.task, earlier=(1,)))
    with run.adopted(loaded.model, loaded.head) as model:
        everything = split(loaded.folder, first, reads=("train",)).train
        before = run.logits(model, everything)
        mask(run, model, split(loaded.folder, first, reads=""))
        mask(run, model, split(loaded.folder, later, reads=""))
        after = run.logits(model, everything)
    others = [c for c in range(10) if c not in (1, 2)]
    assert torch.equal(after[:, others], before[:, others])
    assert not torch.isin(after.argmax(1), torch.tensor([1, 2])).any()
    assert torch.isin(before.argmax(1), torch.tensor([1, 2])).any()


def test_a_mask_of_what_is_masked_says_that_nothing_was_left_to_do(toy):
    loaded = toy.load()
    parts = split(loaded.folder, resolve(Request(("3",)), loaded.folder), reads="")
    run, again = (loaded.run(Options(device="cpu", precision="float64")) for _ in range(2))
    with run.adopted(loaded.model, loaded.head) as model:
        mask(run, model, parts)
    with again.adopted(loaded.model, loaded.head) as model:
        mask(again, model, parts)
    assert run.stopped_by == "the end of its schedule"
    assert again.stopped_by == "nothing to forget: the classes are masked already"
