"""The verbs that methods are written in."""

import math

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from unlearn_cli.engine.batches import Augmentation, Batch, Features, seeded
from unlearn_cli.engine.run import deterministic
from unlearn_cli.errors import UnlearnError
from unlearn_cli.ops.attacks import pgd
from unlearn_cli.ops.losses import cross_entropy

# batches


@pytest.mark.parametrize("size", [1, 7, 49, 146, 147, 1000])
def test_batches_show_every_image_once_in_parts_of_equal_size(new_run, splits, size):
    run = new_run()
    seen = list(run.batches(splits.forget, size=size))
    assert sorted(torch.cat([b.index for b in seen]).tolist()) == list(range(147))
    lengths = {len(b.x) for b in seen}
    assert max(lengths) <= size
    assert max(lengths) - min(lengths) <= 1
    assert run.images_read == {"forget": 147}


def test_every_pass_has_its_own_order_and_the_seed_repeats_it(new_run, splits):
    def orders(seed):
        run = new_run(seed)
        return [torch.cat([b.index for b in run.batches(splits.forget, size=50)]).tolist() for _ in range(2)]

    assert orders(0)[0] != orders(0)[1]
    assert orders(0) == orders(0)
    assert orders(0) != orders(1)


def test_without_shuffling_images_come_in_order_normalised_and_with_their_labels(new_run, splits):
    run = new_run()
    b = next(run.batches(splits.test, size=355, shuffle=False))
    raw = splits.test.images.gather(splits.test.index).permute(0, 3, 1, 2).double() / 255
    assert_close(b.x.double(), (raw - run.mean[0]) / run.std[0], rtol=1e-5, atol=1e-5)
    assert torch.equal(b.y, splits.test.y)


def test_extra_rows_follow_their_images(new_run, splits):
    for b in new_run().batches(splits.forget, torch.arange(147) * 10, size=40):
        assert torch.equal(b.extra, b.index * 10)


def test_kept_features_are_batched_like_images_and_count_as_read_once(new_run, splits):
    run = new_run()
    features = Features(torch.arange(147.0)[:, None], splits.forget.y, "forget")
    for b in run.batches(features, size=40):
        assert torch.equal(b.x[:, 0], b.index.float())
    assert not run.images_read


@pytest.mark.parametrize("flip", ["none", "random", "alternating"])
def test_the_shares_of_several_processes_make_up_the_batches_of_one(new_run, splits, flip):
    how = Augmentation(2, flip)
    whole = list(new_run().batches(splits.forget, size=40, augment=how))
    shares = [list(new_run(rank=rank, world=3).batches(splits.forget, size=40, augment=how)) for rank in range(3)]
    for i, b in enumerate(whole):
        assert torch.equal(torch.cat([share[i].x for share in shares]), b.x)
        assert torch.equal(torch.cat([share[i].y for share in shares]), b.y)
        assert {share[i].size for share in shares} == {b.size}


def test_more_processes_than_images_leave_some_without_any(new_run, splits):
    one = splits.forget.subset(torch.arange(147) < 2)
    lengths = [len(next(new_run(rank=rank, world=5).batches(one, size=2)).x) for rank in range(5)]
    assert sorted(lengths) == [0, 0, 0, 1, 1]


def test_augmentation_is_another_one_each_pass(new_run, splits):
    run = new_run()
    first, second = (
        torch.cat([b.x[b.index.argsort()] for b in run.batches(splits.forget, size=147, augment=Augmentation(2))]) for _ in range(2)
    )
    assert first.shape == second.shape
    assert not torch.equal(first, second)


def test_two_passes_of_alternating_flips_show_both_sides_even_when_another_pass_runs_between(new_run, splits):
    run, how = new_run(), Augmentation(0, "alternating")

    def one_pass():
        b = next(passing := run.batches(splits.forget, size=147, augment=how))
        passing.close()
        return b.x[b.index.argsort()]

    first = one_pass()
    begun = run.batches(splits.forget, size=40, augment=how)
    parts = [next(begun)]
    run.passes.begun += 3
    parts += begun
    second = torch.cat([b.x for b in parts])[torch.cat([b.index for b in parts]).argsort()]
    assert_close(second, first.flip(3))


def test_pairs_last_as_long_as_the_retain_set_and_start_the_forget_set_again(new_run, splits):
    run = new_run()
    pairs = list(run.paired(splits.forget, splits.retain, size=50))
    assert sum(len(r.x) for _, r in pairs) == 1295
    assert len(pairs) == 26
    seen = torch.cat([f.index for f, _ in pairs]).bincount()
    assert seen.max() - seen.min() <= 1
    assert seen.min() >= 8
    assert all((f.y == 3).all() and (r.y != 3).all() for f, r in pairs)


def test_the_mean_of_a_batch_is_the_sum_of_its_shares():
    values = torch.arange(7.0)
    shares = [Batch(values[s], values[s], None, values[s], 7, s) for s in (slice(0, 3), slice(3, 3), slice(3, 7))]
    assert sum(b.mean(b.x) for b in shares) == values.mean()


def test_drawn_numbers_belong_to_images_and_not_to_processes(new_run, splits):
    def drawn(**ranks):
        run = new_run(**ranks)
        return [run.draw(b, 0, 1000) for b in run.batches(splits.forget, size=40)]

    whole, halves = drawn(), [drawn(rank=rank, world=2) for rank in range(2)]
    for i, numbers in enumerate(whole):
        assert torch.equal(torch.cat([half[i] for half in halves]), numbers)
        assert ((numbers >= 0) & (numbers < 1000)).all()


def test_a_sample_is_a_share_and_the_whole_is_itself(new_run, splits):
    run = new_run()
    assert run.sample(splits.forget, 1.0) is splits.forget
    part = run.sample(splits.forget, 0.1)
    assert len(part) == 15
    assert set(part.index.tolist()) < set(splits.forget.index.tolist())
    assert len(run.sample(splits.forget, 1e-6)) == 1


def test_generators_of_two_purposes_do_not_agree():
    drawn = {
        torch.randint(2**40, (1,), generator=seeded(*words)).item()
        for words in ((0, "a"), (0, "b"), (1, "a"), (0, "a", 1), (0, "a1"))
    }
    assert len(drawn) == 5


# steps


def line(run, start=1.0):
    p = nn.Parameter(torch.tensor(start))
    return p, run.optimizer([p], "sgd", lr=0.1)


def test_a_step_goes_down_the_gradient_of_this_loss_alone(new_run):
    run = new_run()
    p, opt = line(run)
    for _ in range(2):
        run.step(2 * p, opt)
    assert p.item() == pytest.approx(1 - 2 * 0.2)
    assert run.steps == 2


def test_a_gradient_is_clipped_to_its_largest_norm_and_a_small_one_is_left(new_run):
    run = new_run()
    for slope, clipped in ((50.0, 1.0), (0.5, 0.5)):
        p, opt = line(run)
        run.step(slope * p, opt, clip=1.0)
        assert p.item() == pytest.approx(1 - 0.1 * clipped)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_stops_before_the_step_and_names_the_last_finite_one(new_run, bad):
    run = new_run()
    p, opt = line(run)
    run.step(4 * p, opt)
    before = p.item()
    with pytest.raises(UnlearnError) as raised:
        run.step(p * bad, opt)
    assert "stopped at step 2" in raised.value.problem
    assert "last finite value 4" in raised.value.problem
    assert p.item() == before


def test_losses_waiting_for_a_look_are_looked_at_when_the_time_is_taken(new_run):
    run = new_run()
    with pytest.raises(UnlearnError), run.timed():
        run._stepper._waiting.append(torch.tensor(math.nan))


# passes without gradients


def test_logits_are_the_networks_own_in_order(new_run, loaded, splits):
    run = new_run(precision="float64")
    with run.adopted(loaded.model, loaded.head) as model:
        logits = run.logits(model.train(), splits.test)
        assert all(module.training for module in model.modules())
        b = next(run.batches(splits.test, size=355, shuffle=False))
        assert_close(logits, model.eval()(b.x).detach(), rtol=1e-10, atol=1e-10)
        assert run.correct(model, splits.test) == int((logits.argmax(1) == splits.test.y).sum())


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float64"])
def test_the_head_on_kept_features_gives_the_networks_logits(new_run, loaded, splits, precision):
    run = new_run(precision=precision)
    with run.adopted(loaded.model, loaded.head) as model:
        backbone, head = run.split(model)
        features = run.features(backbone, splits.forget)
        assert_close(head(features.x).detach(), run.logits(model, splits.forget), rtol=1e-5, atol=1e-5)
        assert features.x.dtype == (torch.float64 if precision == "float64" else torch.float32)
        assert int((head(features.x).argmax(1) == features.y).sum()) == run.correct(model, splits.forget)


def test_an_attack_sees_pictures_in_zero_to_one_and_no_step_changes_nothing(new_run, loaded, splits):
    run = new_run(precision="float64")
    with run.adopted(loaded.model, loaded.head) as model:

        def still(function, x, y):
            assert x.min() >= -1e-6 and x.max() <= 1 + 1e-6
            assert (y == 3).all()
            return x

        logits = run.logits(model, splits.forget)
        assert_close(run.attacked(model, splits.forget, still), logits, rtol=1e-6, atol=1e-6)
        moved = run.attacked(model, splits.forget, lambda f, x, y: pgd(f, x, y, 0.1, 0.2, 2))
        assert cross_entropy(moved, splits.forget.y).mean() > cross_entropy(logits, splits.forget.y).mean()
        assert all(p.grad is None for p in model.parameters())


# the model


def test_a_teacher_is_a_frozen_copy_that_stays_behind(new_run, loaded):
    run = new_run(precision="bfloat16")
    with run.adopted(loaded.model, loaded.head) as model:
        teacher = run.teacher(model.train())
        assert not teacher.training
        assert not any(p.requires_grad for p in teacher.parameters())
        x = torch.zeros(2, 1, 28, 28)
        before = teacher(x)
        with torch.no_grad():
            for p in model.parameters():
                p.zero_()
        assert torch.equal(teacher(x), before)


def test_a_model_comes_back_when_the_method_fails(new_run, loaded):
    run = new_run(precision="float64")
    with pytest.raises(ZeroDivisionError), run.adopted(loaded.model, loaded.head) as model:
        assert next(model.parameters()).dtype == torch.float64
        model.train().requires_grad_(False)
        raise ZeroDivisionError
    assert all(p.dtype == torch.float32 and p.requires_grad for p in loaded.model.parameters())
    assert not loaded.model.training


def test_deterministic_repeats_and_leaves_everything_as_found(new_run):
    cudnn = torch.backends.cudnn
    before = torch.get_rng_state().tolist(), cudnn.deterministic, cudnn.benchmark
    drawn = []
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), deterministic(new_run(seed=7)):
            assert cudnn.deterministic and not cudnn.benchmark
            drawn.append(torch.rand(3).tolist())
            raise ZeroDivisionError
    assert drawn[0] == drawn[1]
    assert (torch.get_rng_state().tolist(), cudnn.deterministic, cudnn.benchmark) == before


def test_the_time_taken_is_the_blocks(new_run):
    run = new_run()
    with run.timed():
        sum(range(10_000))
    assert 0 < run.seconds < 5


# several sources as one data set


def test_several_sources_are_one_data_set_with_everyones_rows_labels_and_counts(new_run, splits):
    run = new_run()
    kept = Features(torch.randn(60, 1, 28, 28), torch.full((60,), 7), "noise")
    alone = {name: next(run.batches(getattr(splits, name), size=2000, shuffle=False)).x for name in ("forget", "test")}
    whole = torch.cat([alone["forget"], kept.x, alone["test"]])
    labels = torch.cat([splits.forget.y, kept.y, splits.test.y])
    run.images_read.clear()
    seen = []
    for b in run.batches([splits.forget, kept, splits.test], torch.arange(len(whole)), size=100):
        assert torch.equal(b.x, whole[b.index])
        assert torch.equal(b.y, labels[b.index])
        assert torch.equal(b.extra, b.index)
        seen += b.index.tolist()
    assert sorted(seen) == list(range(len(whole)))
    assert seen != sorted(seen)
    assert run.images_read == {"forget": 147, "test": len(splits.test)}


def test_augmentation_of_a_mixed_batch_touches_the_images_alone_and_as_it_would_without_company(new_run, splits):
    how = Augmentation(2, "random")
    kept = Features(torch.zeros(50, 1, 28, 28), torch.zeros(50, dtype=torch.int64), "noise")
    mixed = torch.cat([b.x for b in new_run().batches([splits.forget, kept], size=40, augment=how)])
    order = torch.cat([b.index for b in new_run().batches([splits.forget, kept], size=40, augment=how)])
    plain = next(new_run().batches(splits.forget, size=147, shuffle=False)).x
    images = order < 147
    assert not mixed[~images].any()
    assert not torch.equal(mixed[images], plain[order[images]])
    inside = (mixed[images].amax((1, 2, 3)) <= plain.max()).all()
    assert inside


@pytest.mark.parametrize("world", [2, 3])
def test_processes_share_a_mixed_batch(new_run, splits, world):
    kept = Features(torch.randn(60, 1, 28, 28), torch.zeros(60, dtype=torch.int64), "noise")
    whole = list(new_run().batches([splits.forget, kept], size=50))
    shares = [list(new_run(rank=rank, world=world).batches([splits.forget, kept], size=50)) for rank in range(world)]
    for n, b in enumerate(whole):
        assert torch.equal(torch.cat([share[n].x for share in shares]), b.x)


def test_normal_numbers_are_the_same_for_an_image_whatever_the_number_of_processes(new_run, splits):
    def drawn(**ranks):
        run = new_run(**ranks)
        return [run.gaussian(b) for b in run.batches(splits.forget, size=50)]

    whole, halves = drawn(), [drawn(rank=rank, world=2) for rank in (0, 1)]
    for n, noise in enumerate(whole):
        assert torch.equal(torch.cat([half[n] for half in halves]), noise)


def test_groups_of_parameters_have_rates_of_their_own(new_run):
    a, b = (nn.Parameter(torch.zeros(1)) for _ in range(2))
    opt = new_run().optimizer([([a], 1.0), ([b], 0.1)], "sgd", lr=1.0)
    new_run().step((a + b).sum(), opt)
    assert (a.item(), b.item()) == (-1.0, pytest.approx(-0.1))
