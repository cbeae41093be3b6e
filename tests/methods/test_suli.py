"""Self-Unlearning with Layered Iteration: its chunks, its steps by the gradient's sign, its way back, its end."""

import pytest
import torch
from toys import furthest, known, listed, on, same

from unlearn_cli.data.requests import Request
from unlearn_cli.engine.run import Run
from unlearn_cli.errors import UnlearnError
from unlearn_cli.methods import suli
from unlearn_cli.methods.suli import layered
from unlearn_cli.ops.losses import entropy

LOGITS = torch.randn(23, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 3
THREES = 147


# chunks


@pytest.mark.parametrize(("size", "layers"), [(None, None), (4, None), (11, None), (100, None), (1, None), (None, 1), (None, 3),
                                              (None, 99)])  # fmt: skip
def test_chunks_partition_the_forget_set_and_never_rise_in_entropy(size, layers):
    chunks = layered(LOGITS, size, layers)
    together = torch.cat(chunks)
    assert together.sort().values.tolist() == list(range(23))
    falling = entropy(LOGITS)[together]
    assert (falling[1:] <= falling[:-1]).all()
    assert not (entropy(LOGITS)[1:] <= entropy(LOGITS)[:-1]).all()


@pytest.mark.parametrize(
    ("n", "size", "layers", "lengths"),
    [
        (5000, None, None, [500] * 10),
        (64, None, None, [32, 32]),
        (147, None, None, [74, 73]),
        (1, None, None, [1]),
        (2, None, None, [2]),
        (3, None, None, [3]),
        (9, 4, None, [4, 5]),
        (10, 4, None, [4, 4, 2]),
        (3, 1, None, [1, 1, 1]),
        (9, None, 2, [5, 4]),
        (5, None, 4, [3, 2]),
        (1, None, 4, [1]),
    ],
)
def test_chunks_are_of_the_size_or_the_number_asked_for_and_none_is_a_single_rest(n, size, layers, lengths):
    assert [len(chunk) for chunk in layered(torch.zeros(n, 3), size, layers)] == lengths


def test_images_of_equal_entropy_stay_in_their_order():
    assert torch.cat(layered(torch.zeros(40, 3), 7)).tolist() == list(range(40))


def test_certain_images_come_last():
    logits = torch.tensor([[1e4, -1e4], [0.0, 0.0], [1.0, 0.0]])
    assert torch.cat(layered(logits)).tolist() == [1, 2, 0]


def test_a_size_and_a_number_of_chunks_exclude_each_other(toy):
    with pytest.raises(UnlearnError, match="chunk_size acts without layers only"):
        toy.forget("suli", chunk_size=50, layers=3)


# steps


def gradient(toy, request, chunk=slice(None), bn="eval"):
    """Of the mean of -log(1 - p_y) over some of the forget images."""

    def look(run, model, splits):
        b = next(run.batches(splits.forget, size=1000, shuffle=False))
        model.train(bn == "train")
        p = model(b.x[chunk]).softmax(1).gather(1, b.y[chunk, None])
        (-torch.log1p(-p)).mean().backward()
        return {name: p.grad.clone() for name, p in model.named_parameters()}

    return on(toy.load(), request, look)


@pytest.mark.parametrize("bn", ["eval", "train"])
def test_a_chunk_moves_every_weight_by_lr_against_the_sign_of_the_gradient(toy, bn):
    """The sign is that of a new Adam: g / (|g| + 10⁻⁸), which is one or minus one but for the smallest gradients."""
    made = toy.forget("suli", precision="float64", passes=1, layers=1, lr=0.01, bn=bn).tensors
    before, counted = toy.weights, 0
    for name, g in gradient(toy, Request(("3",)), bn=bn).items():
        moved = made[name].double() - before[name].double()
        torch.testing.assert_close(moved, -0.01 * g / (g.abs() + 1e-8), rtol=0, atol=1e-6)
        counted += int((g.abs() > 1e-5).sum())
    assert counted > 1000


def test_listed_images_are_driven_from_their_own_labels(toy):
    request = listed(toy, 40)
    made = toy.forget("suli", request, precision="float64", passes=1, layers=1).tensors
    clear = (g := gradient(toy, request)["head.weight"]).abs() > 1e-5
    moved = (made["head.weight"].double() - toy.weights["head.weight"].double())[clear]
    torch.testing.assert_close(moved, -8e-5 * g[clear].sign(), rtol=2e-3, atol=1e-6)
    assert (g[clear] > 0).any() and (g[clear] < 0).any()


def test_the_most_uncertain_images_come_first(toy, monkeypatch):
    monkeypatch.setattr(suli, "still_known", lambda *_: 0)  # stop after the first chunk
    request = Request(("3",))
    made = toy.forget("suli", request, precision="float64", lr=0.01, chunk_size=20).tensors
    order = on(toy.load(), request, lambda run, model, s: entropy(run.logits(model, s.forget)).argsort(descending=True))

    def agreement(chunk):
        before, right, counted = toy.weights, 0, 0
        for name, g in gradient(toy, request, chunk).items():
            clear = g.abs() > 1e-7
            right += int((((made[name].double() - before[name].double()) < 0) == (g > 0))[clear].sum())
            counted += int(clear.sum())
        return right / counted

    assert agreement(order[:20]) == 1
    assert agreement(order[-20:]) < 0.95


def test_every_chunk_has_a_new_adam_and_takes_one_step_with_it(toy, monkeypatch):
    made = []
    optimizer = Run.optimizer
    monkeypatch.setattr(Run, "optimizer", lambda self, *a, **k: made.append(optimizer(self, *a, **k)) or made[-1])
    run = toy.forget("suli", passes=2, layers=3, lr=1e-6).run
    assert [opt.done for opt in made] == [1] * 6
    assert run.steps == 6
    made.clear()
    toy.forget("suli", passes=1, layers=3, lr=1e-6, steps_per_chunk=2)
    assert [opt.done for opt in made] == [2] * 3


def test_a_chunks_target_stays_while_its_steps_go_on(toy, monkeypatch):
    targets = []
    kl = suli.kl
    monkeypatch.setattr(suli, "kl", lambda target, *a: targets.append(target) or kl(target, *a))
    toy.forget("suli", passes=1, layers=2, steps_per_chunk=3)
    one, two = targets[:3], targets[3:]
    assert all(torch.equal(t, one[0]) for t in one)
    assert all(torch.equal(t, two[0]) for t in two)
    assert len(two) == 3
    assert one[0].shape == (74, 10) and two[0].shape == (73, 10)


def test_a_chunks_target_is_the_current_models(toy, monkeypatch):
    targets = []
    kl = suli.kl
    monkeypatch.setattr(suli, "kl", lambda target, *a: targets.append(target) or kl(target, *a))
    toy.forget("suli", passes=2, layers=1, lr=1e-3, rollback=False, precision="float64", stop_accuracy=0)
    assert len(targets) == 2
    assert float((targets[0].sort(0).values - targets[1].sort(0).values).abs().max()) > 1e-3


@pytest.mark.parametrize("settings", [{"epsilon": 0.3}, {"temperature": 4}, {"lr": 1e-3}, {"weight_decay": 1.0},
                                      {"chunk_size": 30}, {"layers": 4}, {"steps_per_chunk": 2}], ids=str)  # fmt: skip
def test_each_setting_matters(toy, settings):
    made, plain = (toy.forget("suli", passes=2, precision="float64", **s).tensors for s in (settings, {}))
    assert furthest(made, plain) > 1e-5


def test_the_authors_label_is_the_prediction(toy):
    request = listed(toy, 40)
    true, argmax = (toy.forget("suli", request, spa_label=label, passes=1, layers=1, precision="float64").tensors
                    for label in ("true", "argmax"))  # fmt: skip
    wrong = on(toy.load(), request, lambda run, model, s: len(s.forget) - run.correct(model, s.forget))
    toy.checkpoint = toy.checkpoint.with_name("without-3.safetensors")
    other_true, other_argmax = (
        toy.forget("suli", request, spa_label=label, passes=1, layers=1, precision="float64").tensors
        for label in ("true", "argmax")
    )
    assert furthest(other_true, other_argmax) > 1e-5
    assert (furthest(true, argmax) < 1e-6) == (wrong == 0)


# BatchNorm, and one forward pass or two


@pytest.mark.parametrize(("forwards", "counts"), [(1, 1), (2, 2)])
def test_batchnorm_counts_the_forward_passes_of_a_chunk(toy, forwards, counts):
    before = toy.weights
    counters = [name for name in before if name.endswith("num_batches_tracked")]
    trained = toy.forget("suli", passes=1, layers=1, bn="train", forwards=forwards).tensors
    kept = toy.forget("suli", passes=1, layers=1, forwards=forwards).tensors
    assert counters
    assert all(int(trained[name] - before[name]) == counts for name in counters)
    assert all(torch.equal(kept[name], before[name]) for name in before if "running" in name or "tracked" in name)


def test_where_batchnorm_is_kept_a_second_forward_pass_changes_nothing(toy):
    one, two = (toy.forget("suli", passes=2, forwards=f, lr=1e-3).tensors for f in (1, 2))
    assert same(one, two)


# the way back


@pytest.fixture
def scripted(toy, monkeypatch):
    """Run it with the numbers of known images that each look finds; tells the tensors, and how many looks there were."""

    def forget(*counts, passes=1, layers=2, **settings):
        left = list(counts)
        monkeypatch.setattr(suli, "still_known", lambda *_: left.pop(0))
        made = toy.forget("suli", passes=passes, layers=layers, lr=1e-2, bn="train", precision="float64", **settings)
        assert not left
        return made

    return forget


def test_a_chunk_that_raised_the_accuracy_is_undone_with_batchnorms_statistics(scripted):
    one = scripted(0).tensors
    assert same(scripted(5, 9).tensors, one)
    accepted, not_undone = scripted(5, 5).tensors, scripted(5, 9, rollback=False).tensors
    for other in (accepted, not_undone):
        assert all(not torch.equal(other[name], one[name]) for name in one if "running" in name or "tracked" in name)
    assert same(accepted, not_undone)


def test_the_first_chunk_is_never_undone(scripted, toy):
    assert not same(scripted(THREES, THREES + 1, layers=2).tensors, toy.weights)


def test_after_a_chunk_undone_the_next_one_goes_on_from_the_last_accepted(scripted):
    made = scripted(5, 9, 4, 0, passes=2).run
    assert made.steps == 4
    assert made.stopped_by == "the forget accuracy reached 0, pass 2, chunk 2 of 2"
    assert scripted(5, 9, 6, 6, passes=2).run.notes[-1] == f"the budget of 2 passes ended with 5 of {THREES} forget images known"


def test_listed_images_are_not_undone_unless_asked(toy, scripted):
    request = {"request": listed(toy, 40), "stop_accuracy": 0}
    plain, undone = (scripted(5, 9, **request, **more).tensors for more in ({}, {"rollback": True}))
    assert same(undone, scripted(0, **request).tensors)
    assert not same(plain, undone)


def test_looking_less_often_looks_at_each_passs_end(scripted):
    assert scripted(7, 7, 7, 7, passes=2, layers=3, check_every=2).run.steps == 6
    assert scripted(7, 0, passes=2, layers=3, check_every=5).run.stopped_by.endswith("pass 2, chunk 3 of 3")


def test_looking_less_often_undoes_all_that_was_done_since_the_last_look(scripted):
    first_two = scripted(0, layers=4, check_every=2).tensors
    assert same(scripted(7, 9, layers=4, check_every=2).tensors, first_two)


# the end


def test_it_stops_at_the_first_chunk_after_which_no_image_is_given_the_class(toy):
    made = toy.forget("suli", lr=2e-3)
    assert made.run.stopped_by.startswith("the forget accuracy reached 0, pass")
    assert known(made) == 0
    assert made.run.steps < 20


def test_of_several_classes_no_image_is_given_any(toy):
    request = Request(("3", "8"))
    made = toy.forget("suli", request, lr=2e-3)
    assert made.run.stopped_by.startswith("the forget accuracy reached 0")
    assert known(made, (3, 8)) == 0


def test_listed_images_end_at_the_originals_accuracy_on_the_selection_set(toy):
    request = listed(toy, 40)
    reference = on(toy.load(), request, lambda run, model, s: run.correct(model, s.selection) / len(s.selection), 0.2)
    made = toy.forget("suli", request, lr=2e-3)
    assert 0 < reference < 1
    assert made.run.stopped_by.startswith(f"the forget accuracy reached {reference:.4g}, pass ")
    assert on(made.loaded, request, lambda run, model, s: run.correct(model, s.forget) / len(s.forget)) <= reference


def test_the_selection_set_is_read_only_for_the_accuracy_that_is_not_given(toy):
    assert toy.forget("suli", listed(toy, 40)).run.images_read["selection"] > 0
    assert "selection" not in toy.forget("suli", listed(toy, 40), stop_accuracy=0.5).run.images_read
    assert "selection" not in toy.forget("suli", passes=1).run.images_read


def test_a_budget_that_ends_too_soon_is_said(toy):
    made = toy.forget("suli", passes=1, lr=1e-6)
    assert made.run.notes[-1].startswith("the budget of 1 passes ended with")
    assert made.run.stopped_by == "the end of its schedule"


def test_a_look_reads_the_forget_set_once_and_so_do_the_entropies(toy):
    made = toy.forget("suli", passes=3, layers=2, lr=1e-6, rollback=False)
    assert made.run.images_read == {"forget": (1 + 3 + 3 * 2) * THREES}
