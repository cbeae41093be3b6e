"""What a few images of the forgotten classes bring back."""

import pytest
import torch
from torch.testing import assert_close

from unlearn_cli.ops import probes
from unlearn_cli.ops.knowledge import DRAWS, PROBE_DRAWS, SHOTS, draws, learn, restored
from unlearn_cli.ops.probes import gather, prototype_rows, ridge

CLASSES, D = 5, 6
LABELS = torch.arange(CLASSES).repeat(30)
TRAIN = torch.arange(len(LABELS)) < 90
GONE = LABELS < 2
FORGET, RETAIN, HELD, KEPT = (mask.nonzero()[:, 0] for mask in (GONE & TRAIN, ~GONE & TRAIN, GONE & ~TRAIN, ~GONE & ~TRAIN))


def features(seed=0, apart=2.0):
    draw = torch.Generator().manual_seed(seed)
    return apart * torch.randn(CLASSES, D, generator=draw)[LABELS] + torch.randn(len(LABELS), D, generator=draw) + 3


def head(seed=1, bias=True):
    draw = torch.Generator().manual_seed(seed)
    weight = torch.randn(CLASSES, D, generator=draw, dtype=torch.float64)
    return weight, torch.randn(CLASSES, generator=draw, dtype=torch.float64) if bias else None


def test_a_draw_has_k_different_images_of_each_class_or_all_class_by_class():
    labels = torch.tensor([4, 7, 4, 4, 7, 7, 7] + [7] * 20)
    found = draws(labels, 0)
    assert tuple(found) == SHOTS
    for k, picks in found.items():
        few = min(k, 3)
        assert labels[picks].tolist() == [[4] * few + [7] * k] * DRAWS
        assert all(len(set(pick)) == few + k for pick in picks.tolist())
    assert len({tuple(sorted(pick)) for pick in found[5].tolist()}) > DRAWS // 2        # they are not one draw repeated


def test_the_seed_decides_the_draws_and_global_randomness_is_left_alone():
    before = torch.get_rng_state()
    one, two, other = (draws(LABELS, seed)[5] for seed in (3, 3, 4))
    assert torch.equal(one, two)
    assert not torch.equal(one, other)
    assert torch.equal(before, torch.get_rng_state())


def test_few_shot_probes_are_those_of_the_first_draws():
    x = features()
    known = learn(x, LABELS, CLASSES, FORGET, RETAIN, HELD, 0)
    others = gather(x[RETAIN], LABELS[RETAIN], CLASSES)
    for k, picks in draws(LABELS[FORGET], 0).items():
        found = []
        for pick in picks[:PROBE_DRAWS]:
            few = FORGET[pick]
            found.append(ridge(others + gather(x[few], LABELS[few], CLASSES, others.centre)).accuracy(x[HELD], LABELS[HELD]))
        assert known.probes[k] == pytest.approx(sum(found) / len(found))
    assert known.probes[1] < known.probes[10] <= known.probe + 0.1
    assert_close(known.centre, torch.stack([x[RETAIN][LABELS[RETAIN] == c].double().mean(0) for c in (2, 3, 4)]).mean(0))


def test_nothing_is_learned_of_constant_features():
    assert learn(torch.full((len(LABELS), D), 0.1), LABELS, CLASSES, FORGET, RETAIN, HELD, 0) is None


@pytest.mark.parametrize("bias", [True, False])
def test_a_restored_head_says_what_the_whole_head_with_the_new_rows_says(bias):
    x, (weight, b) = features(), head(bias=bias)
    logits = (x.double() @ weight.T + (0 if b is None else b)).float()
    centre = x[RETAIN].double().mean(0)
    again, still = restored(x, LABELS, logits, (weight, b), centre, FORGET, HELD, KEPT, 5)
    for k, picks in draws(LABELS[FORGET], 5).items():
        held = kept = 0
        for pick in picks:
            few = FORGET[pick]
            means = torch.stack([x[few][LABELS[few] == c].double().mean(0) for c in (0, 1)])
            new, new_b = prototype_rows(weight, b, means, centre, torch.tensor([0, 1]))
            right = (x.double() @ new.T + (0 if new_b is None else new_b)).argmax(1) == LABELS
            held, kept = held + right[HELD].double().mean().item(), kept + right[KEPT].double().mean().item()
        assert again[k] == pytest.approx(held / DRAWS)
        assert still[k] == pytest.approx(kept / DRAWS)
    assert 0 < again[10] < 1 and 0 < still[10] < 1


def test_without_retained_test_images_a_head_is_restored_all_the_same():
    x, (weight, b) = features(), head()
    given = x, LABELS, (x.double() @ weight.T + b).float(), (weight, b), x.double().mean(0), FORGET, HELD
    again, still = restored(*given, None, 0)
    assert still == {}
    assert again == restored(*given, KEPT, 0)[0]


def test_images_that_are_scored_one_by_one_come_to_the_same(monkeypatch):
    x = torch.randn(len(LABELS), 6, generator=torch.Generator().manual_seed(0)) + LABELS[:, None]
    whole = learn(x, LABELS, CLASSES, FORGET, RETAIN, HELD, 0)
    monkeypatch.setattr(probes, "SCORES", 1)
    parts = learn(x, LABELS, CLASSES, FORGET, RETAIN, HELD, 0)
    assert (parts.prototypes, parts.probes, parts.probe) == (whole.prototypes, whole.probes, whole.probe)
    assert torch.equal(parts.separations, whole.separations)
    assert whole.separations.mean().item() == pytest.approx(whole.separation, abs=1e-12)
