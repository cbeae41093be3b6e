"""What the layers below the head still know."""

from dataclasses import replace

import pytest
import torch
from said import said

from tests.splitting import split
from unlearn_cli.cases.loading import Plain, load
from unlearn_cli.cases.measuring import read
from unlearn_cli.data.requests import Request
from unlearn_cli.data.splits import ALL
from unlearn_cli.engine.run import Options
from unlearn_cli.jobs import forget, train
from unlearn_cli.metrics import features as under_test
from unlearn_cli.metrics.features import between
from unlearn_cli.metrics.registry import Evidence, Outputs, measure

PROBED = ("probe_accuracy", "class_separation", "prototype_accuracy")
RECOVERIES = ("probe_recovery", "few_shot_recovery", "separation_recovery")
SIMILARITIES = ("similarity_to_original", "similarity_to_reference")
CLASSES, TRAIN, TEST, WIDTH = 4, 40, 30, 6
LABELS = torch.arange(CLASSES).repeat_interleave(TRAIN + TEST)
IS_TEST = (torch.arange(TRAIN + TEST) >= TRAIN).repeat(CLASSES)


def splits_of(forgotten):
    gone = torch.isin(LABELS, torch.tensor(forgotten))
    masks = {"train": ~IS_TEST, "test": IS_TEST, "forget": gone & ~IS_TEST, "retain": ~gone & ~IS_TEST,
             "forget_test": gone & IS_TEST, "retain_test": ~gone & IS_TEST}  # fmt: skip
    return {name: mask.nonzero()[:, 0] for name, mask in masks.items()}


def model(seed, apart=3.0, width=WIDTH, weak=()):
    """A model whose features are classes `apart` deviations, those in `weak` a sixth of it; its head is class means."""
    draw = torch.Generator().manual_seed(seed)
    axes = torch.linalg.qr(torch.randn(width, width, generator=draw)).Q[:CLASSES]
    middles = apart * axes
    for c in weak:
        middles[c] /= 6
    x = middles[LABELS] + torch.randn(len(LABELS), width, generator=draw) + 5
    weight = axes * 3
    bias = -weight @ torch.full((width,), 5.0)
    weights = {"conv.weight": torch.zeros(3, 3), "head.weight": weight, "head.bias": bias}
    return Outputs(x @ weight.T + bias, x, weights, (weight, bias))


def masked(outputs, c=0):
    """The same features under a head that never says class c."""
    weights = {name: tensor.clone() for name, tensor in outputs.weights.items()}
    weights["head.weight"][c], weights["head.bias"][c] = 0, -1e4
    logits = outputs.logits.clone()
    logits[:, c] = -1e4
    return Outputs(logits, outputs.features, weights, (weights["head.weight"], weights["head.bias"]))


def evidence(own, original=None, references=(), forgotten=(0,), **given):
    return Evidence(own, LABELS, splits_of(forgotten), forgotten, original, list(references), **given)


ORIGINAL = model(0)
RETRAINED = [model(seed, weak=(0,)) for seed in (1, 2, 3)]


def values(given, names=PROBED + RECOVERIES + SIMILARITIES):
    return {name: measured.value for name, measured in measure(given, names).items()}


# recoveries


def test_a_recovery_is_zero_at_the_references_mean_one_at_the_original_and_clipped_outside():
    assert between(0.5, 0.9, [0.4, 0.6], 0.03).value == 0
    assert between(0.9, 0.9, [0.4, 0.6], 0.03).value == 1
    assert between(0.6, 0.9, [0.4, 0.6], 0.03).value == pytest.approx(0.25)
    over, under = between(0.98, 0.9, [0.5], 0.03), between(0.3, 0.9, [0.5], 0.03)
    assert (over.value, under.value) == (1, 0)
    assert (over.detail["ratio"], under.detail["ratio"]) == (pytest.approx(1.2), pytest.approx(-0.5))


def test_an_original_hardly_above_the_reference_or_below_it_gives_no_recovery():
    assert between(0.5, 0.929, [0.9], 0.03).value is None
    assert "too close" in between(0.5, 0.8, [0.9], 0.03).reason
    assert between(0.5, 0.931, [0.9], 0.03).value is not None


def test_a_head_that_hides_a_class_recovers_all_of_it():
    found = values(evidence(masked(ORIGINAL), ORIGINAL, RETRAINED))
    assert [found[name] for name in RECOVERIES] == [1, 1, 1]
    assert found["similarity_to_original"] == 1
    assert found["prototype_accuracy"] > 0.9


@pytest.mark.parametrize("one", range(3))
def test_a_retrained_model_recovers_little(one):
    others = [each for i, each in enumerate(RETRAINED) if i != one]
    found = values(evidence(RETRAINED[one], ORIGINAL, others))
    assert all(found[name] < 0.5 for name in RECOVERIES)
    assert found["similarity_to_original"] < 0.9


def test_a_model_half_way_is_in_between():
    weaker = model(8, apart=2.0)
    found = values(evidence(weaker, ORIGINAL, RETRAINED), ["separation_recovery"])
    assert 0.2 < found["separation_recovery"] < 0.95


def test_the_untouched_original_recovers_all():
    found = values(evidence(ORIGINAL, ORIGINAL, RETRAINED))
    assert [found[name] for name in RECOVERIES] == [1, 1, 1]


def test_the_probe_sees_more_in_the_original_than_in_a_retrained_model():
    known, unseen = values(evidence(ORIGINAL)), values(evidence(RETRAINED[0]))
    for name in PROBED:
        assert known[name] > unseen[name] + 0.1


def test_few_shot_recovery_shows_its_curves():
    detail = measure(evidence(masked(ORIGINAL), ORIGINAL, RETRAINED), ["few_shot_recovery"])["few_shot_recovery"].detail
    assert detail["shots"] == [1, 5, 10]
    assert detail["prototype_accuracy"] == sorted(detail["prototype_accuracy"])
    assert detail["prototype_recovery"] == detail["probe_recovery"] == [1, 1, 1]
    assert detail["own"] == pytest.approx(sum(detail["prototype_accuracy"]) / 3)


def test_the_widths_of_the_models_may_differ():
    wide = [model(seed, weak=(0,), width=11) for seed in (4, 5)]
    found = values(evidence(masked(ORIGINAL), ORIGINAL, wide))
    assert [found[name] for name in RECOVERIES] == [1, 1, 1]
    assert 0 < found["similarity_to_reference"] < 1


def test_several_classes_are_forgotten_together():
    retrained = [model(seed, weak=(0, 2)) for seed in (1, 2)]
    hidden = masked(masked(ORIGINAL), 2)
    found = values(evidence(hidden, ORIGINAL, retrained, forgotten=(0, 2)))
    assert [found[name] for name in RECOVERIES] == [1, 1, 1]
    assert found["prototype_accuracy"] > 0.9
    assert values(evidence(retrained[0], ORIGINAL, retrained[1:], forgotten=(0, 2)))["separation_recovery"] < 0.3


def test_the_seed_repeats_the_draws_and_global_randomness_is_left_alone():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    fresh = [replace(ORIGINAL) for _ in range(3)]
    one, two, other = (
        measure(evidence(each, seed=seed), PROBED)["prototype_accuracy"].detail["accuracy"][0]
        for each, seed in zip(fresh, (3, 3, 4), strict=True)
    )
    assert one == two != other
    assert torch.equal(before, torch.get_rng_state())


def test_each_model_is_learned_from_once_for_all_rows_and_anew_for_another_request(monkeypatch):
    count = []
    inner = under_test.learn
    monkeypatch.setattr(under_test, "learn", lambda *given: count.append(given) or inner(*given))
    original, *others = (replace(each) for each in (ORIGINAL, *RETRAINED))
    splits = splits_of((0,))
    for own in (original, *others):
        beside = [each for each in others if each is not own]
        measure(Evidence(own, LABELS, splits, (0,), original, beside), PROBED + RECOVERIES)
    assert len(count) == 4
    measure(Evidence(original, LABELS, splits_of((1,)), (1,)), PROBED)
    assert len(count) == 5


# the prototype head


def test_prototype_accuracy_is_that_of_the_network_with_the_new_row():
    from unlearn_cli.ops.knowledge import draws
    from unlearn_cli.ops.probes import prototype_rows

    own, given = masked(ORIGINAL), evidence(masked(ORIGINAL))
    found = measure(given, ["prototype_accuracy"])["prototype_accuracy"]
    held, kept, x = given.splits["forget_test"], given.splits["retain_test"], own.features.double()
    means = torch.stack([x[given.splits["retain"]][LABELS[given.splits["retain"]] == c].mean(0) for c in (1, 2, 3)])
    rows, biases = own.weights["head.weight"].double(), own.weights["head.bias"].double()
    accuracies, kept_accuracies = [], []
    for positions in draws(LABELS[given.splits["forget"]], given.seed)[10]:
        mean = x[given.splits["forget"][positions]].mean(0, keepdim=True)
        weight, bias = prototype_rows(rows, biases, mean, means.mean(0), torch.tensor([0]))
        right = (x @ weight.T + bias).argmax(1) == LABELS
        accuracies.append(right[held].double().mean().item())
        kept_accuracies.append(right[kept].double().mean().item())
    assert found.value == pytest.approx(sum(accuracies) / 20)
    before = (own.logits.argmax(1) == LABELS)[kept].double().mean().item()
    assert found.detail["retain_test_loss"][2] == pytest.approx(before - sum(kept_accuracies) / 20)


def test_a_head_may_have_no_bias_and_one_that_is_not_known_or_another_layer_is_a_reason():
    weight, x = ORIGINAL.weights["head.weight"], ORIGINAL.features - 5
    plain = Outputs(x @ weight.T, x, {"fc.weight": weight}, (weight, None))
    assert measure(evidence(plain), ["prototype_accuracy"])["prototype_accuracy"].value > 0.8

    def reason(head):
        given = evidence(Outputs(ORIGINAL.logits, ORIGINAL.features, ORIGINAL.weights, head))
        return measure(given, ["prototype_accuracy"])["prototype_accuracy"].reason

    assert reason(None) == "the head of the model is not known"
    assert reason(ORIGINAL.head) == ""
    for wrong in ((torch.randn(CLASSES, WIDTH), None), (torch.randn(CLASSES, WIDTH + 1), None), (weight, None)):
        assert reason(wrong) == "the head does not give the model's logits from its features"


def test_the_head_is_the_one_that_was_named_and_not_another_layer_of_its_shape():
    weights = {"head.weight": ORIGINAL.weights["head.weight"], "twin.weight": ORIGINAL.weights["head.weight"].flip(0)}
    twin = Outputs(ORIGINAL.logits, ORIGINAL.features, weights, ORIGINAL.head)
    expected = measure(evidence(ORIGINAL), ["prototype_accuracy"])["prototype_accuracy"]
    assert measure(evidence(twin), ["prototype_accuracy"])["prototype_accuracy"] == expected


# what cannot be measured


def test_without_original_or_reference_there_is_no_recovery():
    for given, word in ((evidence(ORIGINAL, None, RETRAINED), "original"), (evidence(ORIGINAL, ORIGINAL), "reference")):
        found = measure(given, RECOVERIES)
        assert all(found[name].reason == f"needs {'the' if word == 'original' else 'a'} {word} model" for name in RECOVERIES)


def test_models_that_know_the_same_give_no_recovery():
    found = measure(evidence(ORIGINAL, ORIGINAL, [ORIGINAL]), RECOVERIES)
    assert all("too close" in found[name].reason for name in RECOVERIES)


@pytest.mark.parametrize("constant", [0.0, 0.1, 1e30])
def test_constant_features_are_a_reason(constant):
    flat = Outputs(ORIGINAL.logits, torch.full_like(ORIGINAL.features, constant), ORIGINAL.weights)
    found = measure(evidence(flat, ORIGINAL, RETRAINED), PROBED + RECOVERIES + SIMILARITIES)
    assert all("the same for every image" in measured.reason for measured in found.values())


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_features_that_are_no_numbers_are_a_reason(bad):
    broken = ORIGINAL.features.clone()
    broken[0, 1] = bad
    found = measure(evidence(Outputs(ORIGINAL.logits, broken, {}), ORIGINAL, RETRAINED), PROBED + RECOVERIES + SIMILARITIES)
    assert all("not finite" in measured.reason for measured in found.values())


def test_huge_features_and_logits_of_minus_infinity_are_measured():
    huge = Outputs(2.0**100 * ORIGINAL.logits, 2.0**100 * ORIGINAL.features, {})
    found = values(evidence(huge, ORIGINAL, RETRAINED), RECOVERIES + SIMILARITIES)
    assert [found[name] for name in RECOVERIES] == [1, 1, 1]
    assert found["similarity_to_original"] == pytest.approx(1, abs=1e-9)
    never = ORIGINAL.logits.clone()
    never[:, 0] = -torch.inf
    assert values(evidence(Outputs(never, ORIGINAL.features, {})), ["probe_accuracy"])["probe_accuracy"] > 0.8


def test_one_test_image_is_enough_and_none_is_a_reason():
    given = evidence(masked(ORIGINAL), ORIGINAL, RETRAINED)
    given.splits["forget_test"] = given.splits["forget_test"][:1]
    assert measure(given, ["probe_accuracy"])["probe_accuracy"].value in (0, 1)
    given = evidence(masked(ORIGINAL), ORIGINAL, RETRAINED)
    given.splits["forget_test"] = given.splits["forget_test"][:0]
    assert measure(given, RECOVERIES)["probe_recovery"].reason == "there are no test images of forgotten classes"


def test_a_forgotten_class_without_training_images_is_a_reason():
    given = evidence(ORIGINAL, forgotten=(0, 1))
    given.splits["forget"] = given.splits["forget"][:TRAIN]
    assert "no training images" in measure(given, ["probe_accuracy"])["probe_accuracy"].reason


def test_a_model_of_two_classes_can_forget_one():
    two = LABELS < 2
    index = splits_of((0,))
    places = two.cumsum(0) - 1
    index = {name: places[part[two[part]]] for name, part in index.items()}
    weights = {name: tensor[:2] for name, tensor in ORIGINAL.weights.items()}
    own = Outputs(ORIGINAL.logits[two][:, :2], ORIGINAL.features[two], weights, (weights["head.weight"], weights["head.bias"]))
    found = values(Evidence(own, LABELS[two], index, (0,)), PROBED)
    assert all(value > 0.8 for value in found.values())


def test_separation_is_one_half_where_two_means_are_equally_near():
    means = torch.tensor([[0, 0, 1], [1, 0, 0], [-0.5, 0.75**0.5, 0], [-0.5, -(0.75**0.5), 0]])     # seen from zero
    for held, wanted in (((1.0, 0, 1), 0.5), ((0.0, 0, 2), 1.0), ((3.0, 0, 0), 0.0)):
        x = means[LABELS]
        x[(LABELS == 0) & IS_TEST] = torch.tensor(held)
        found = measure(evidence(said(ORIGINAL.logits, x)), ["class_separation"])["class_separation"]
        assert found.value == pytest.approx(wanted, abs=1e-7)


# requests that name images


def instances(features, listed):
    index = splits_of(())
    mask = torch.zeros(len(LABELS), dtype=torch.bool)
    mask[listed] = True
    index |= {"forget": listed, "retain": (~IS_TEST & ~mask).nonzero()[:, 0]}
    index.pop("forget_test"), index.pop("retain_test")
    return Evidence(said(ORIGINAL.logits, features), LABELS, index, ())


LISTED = torch.cat([torch.arange(10), TRAIN + TEST + torch.arange(5)])


def nearness(given):
    return measure(given, ["feature_membership_auc"])["feature_membership_auc"]


def test_listed_images_that_lie_where_unseen_ones_do_cannot_be_told():
    found = [nearness(instances(model(seed).features, LISTED)).value for seed in range(30)]
    assert abs(sum(found) / 30 - 0.5) < 0.04
    assert nearness(instances(ORIGINAL.features, LISTED)).detail == {"n": 15, "n_unseen": 2 * TEST}


def test_listed_images_drawn_to_their_class_are_nearer_and_expelled_ones_are_farther():
    for pull, low, high in ((0.8, 0.95, 1.0), (-3.0, 0.0, 0.1)):
        x = ORIGINAL.features.clone()
        for c in (0, 1):
            mine = LISTED[LABELS[LISTED] == c]
            mean = x[(c == LABELS) & ~IS_TEST].mean(0)
            x[mine] += pull * (mean - x[mine]) if pull > 0 else pull * (mean - 5)
        assert low <= nearness(instances(x, LISTED)).value <= high


def test_a_feature_without_any_difference_ties():
    x = torch.eye(CLASSES)[LABELS]
    assert nearness(instances(x, LISTED)).value == 0.5


def test_probes_are_for_classes_and_nearness_is_for_images():
    found = measure(instances(ORIGINAL.features, LISTED), PROBED + RECOVERIES)
    assert all(measured.reason == "defined for requests that name classes only" for measured in found.values())
    assert nearness(evidence(ORIGINAL)).reason == "defined for requests that name images only"


def test_similarity_is_measured_on_the_listed_images():
    given = instances(ORIGINAL.features, LISTED)
    other = ORIGINAL.features.clone()
    other[torch.isin(torch.arange(len(LABELS)), LISTED, invert=True)] = 0       # elsewhere all is different
    given = Evidence(given.model, LABELS, given.splits, (), said(ORIGINAL.logits, other))
    assert values(given, ["similarity_to_original"])["similarity_to_original"] == 1
    shuffled = said(ORIGINAL.logits, ORIGINAL.features.flip(0))
    given = Evidence(given.model, LABELS, given.splits, (), shuffled)
    assert values(given, ["similarity_to_original"])["similarity_to_original"] < 0.9


def test_one_listed_image_has_no_similarity():
    given = instances(ORIGINAL.features, LISTED[:1])
    given = Evidence(given.model, LABELS, given.splits, (), ORIGINAL, [ORIGINAL])
    assert all("every image" in found.reason for found in measure(given, SIMILARITIES).values())


# the shipped digits


@pytest.fixture(scope="module")
def digits(shipped, tmp_path_factory):
    """Outputs of the shipped models, of head-only methods and of models retrained with other seeds, and the splits."""
    folder = tmp_path_factory.mktemp("digits")
    options = Options(device="cpu", precision="float32")
    paths = {"original": shipped / "model.safetensors", "retrained": shipped / "without-3.safetensors"}
    for method in ("lau", "mask"):
        paths[method] = folder / f"{method}.safetensors"
        forget(str(paths["original"]), method, Request(("3",)), output=str(paths[method]), options=options)
    for seed in (1, 2):
        paths[f"retrained-{seed}"] = folder / f"{seed}.safetensors"
        train(str(shipped / "digits"), str(paths[f"retrained-{seed}"]), arch="compact", epochs=8, without=Request(("3",)),
              chosen={"width": 8, "lr": 0.1, "batch_size": 64},
              options=Options(device="cpu", precision="float32", seed=seed))  # fmt: skip
    first = load(str(paths["original"]), Plain(), options)
    found = split(first.folder, Request(("3",)), reads=ALL)
    models = {name: read(load(str(path), Plain(), options, first), options) for name, path in paths.items()}
    return models, first.folder.images.labels, {name: getattr(found, name).index for name in ALL}, found.task.forgotten


def of_digits(digits, own, references):
    models, labels, splits, forgotten = digits
    given = Evidence(models[own], labels, splits, forgotten, models["original"], [models[name] for name in references])
    return values(given)


@pytest.mark.parametrize("method", ["lau", "mask"])
def test_head_only_methods_recover_everything(digits, method):
    found = of_digits(digits, method, ["retrained"])
    assert [found[name] for name in RECOVERIES] == [1, 1, 1]
    assert found["similarity_to_original"] == 1
    assert found["prototype_accuracy"] > 0.9


@pytest.mark.parametrize("own", ["retrained", "retrained-1", "retrained-2"])
def test_digits_retrained_with_another_seed_recover_less_than_half(digits, own):
    references = [name for name in ("retrained", "retrained-1", "retrained-2") if name != own]
    found = of_digits(digits, own, references)
    assert found["separation_recovery"] < 0.5
    assert found["few_shot_recovery"] < 0.5
    assert found["similarity_to_original"] < 0.6
    assert found["prototype_accuracy"] < 0.85
