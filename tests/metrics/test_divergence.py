from math import isclose, log, sqrt

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from said import said
from scipy.spatial.distance import jensenshannon
from scipy.stats import gaussian_kde

from unlearn_cli.errors import UnlearnError
from unlearn_cli.metrics.registry import Evidence, measure
from unlearn_cli.metrics.requirements import check_measurable, parse
from unlearn_cli.metrics.scores import losses_of_sides


def between(name, own, *references):
    index = torch.arange(len(own))
    given = Evidence(said(own), torch.zeros_like(index), {"forget": index}, references=[said(logits) for logits in references])
    return measure(given, [name])[name]


def distance(own, *references):
    return between("activation_distance", own, *references)


def js(own, *references):
    return between("reference_divergence", own, *references)


def zrf(own, random, official=False, index=None):
    index = torch.arange(len(own)) if index is None else index
    name = "zrf" + "_official" * official
    given = Evidence(said(own), torch.zeros(len(own), dtype=torch.int64), {"forget": index}, seed=3, random_logits=random)
    return measure(given, [name])[name]


def normal(*shape, seed=0, scale=1.0):
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_activation_distance_of_the_worked_example():
    assert distance(torch.tensor([[2.0, 1, 0]]), torch.tensor([[0.0, 1, 2]])).value == pytest.approx(0.813470, abs=5e-7)


def test_activation_distance_to_oneself_is_zero():
    logits = torch.randn(20, 5)
    assert distance(logits, logits).value == 0


def test_activation_distance_ignores_a_shift_of_all_logits_and_reaches_root_two():
    logits = torch.randn(20, 5)
    assert distance(logits, logits + 7).value == pytest.approx(0, abs=1e-6)
    assert distance(1e4 * torch.eye(3), 1e4 * torch.eye(3).roll(1, 0)).value == pytest.approx(2**0.5)


@pytest.mark.parametrize("measured", [distance, js])
def test_distances_are_averaged_over_references(measured):
    own, near, far = normal(3, 20, 5)
    one, two = measured(own, near).value, measured(own, far).value
    assert one != two
    assert measured(own, near, far).value == pytest.approx((one + two) / 2)
    assert measured(own, near, far).detail == {"n": 20, "references": 2}


@pytest.mark.parametrize("measured", [distance, js])
def test_without_a_reference_of_the_same_classes_there_is_no_distance(measured):
    own, other = normal(4, 3), normal(4, 5)
    assert measured(own).reason == "needs a reference model"
    assert measured(own, own, other).reason == "a reference model has other classes"
    assert measured(own, own, own * torch.nan).reason == "a reference model's outputs are not finite"
    assert measured(own, own).value == 0


def test_reference_divergence_agrees_with_scipy_and_is_the_mean_over_images():
    own, other = normal(50, 7, scale=3), normal(50, 7, seed=1)
    p, q = (x.double().softmax(1).numpy() for x in (own, other))
    assert js(own, other).value == pytest.approx((jensenshannon(p, q, axis=1) ** 2).mean(), abs=1e-12)


def test_reference_divergence_reads_the_forget_set_alone():
    own, other = normal(12, 4), normal(12, 4, seed=1)
    splits = {"forget": torch.arange(6)}
    labels = torch.zeros(12, dtype=torch.int64)
    first = measure(Evidence(said(own), labels, splits, references=[said(other)]), ["reference_divergence"])
    changed = torch.cat([own[:6], own[6:] + normal(6, 4, seed=2)])
    again = measure(Evidence(said(changed), labels, splits, references=[said(other)]), ["reference_divergence"])
    assert first == again


def test_reference_divergence_is_zero_for_oneself_and_ln_two_for_certain_strangers():
    logits = normal(20, 5)
    assert js(logits, logits).value == 0
    assert js(logits, logits + 7).value == pytest.approx(0, abs=1e-12)
    assert js(1e30 * torch.eye(3), 1e30 * torch.eye(3).roll(1, 0)).value == pytest.approx(log(2), abs=1e-15)
    masked = logits.clone()
    masked[:, 0] = -torch.inf
    assert 0 < js(masked, logits).value < log(2)


def losses_evidence(forget, unseen, forgotten=(0,)):
    losses = torch.cat([forget, unseen]).double()
    logits = torch.stack([torch.zeros_like(losses), losses + torch.log(-torch.expm1(-losses))], 1).float()
    n, m = len(forget), len(unseen)
    splits = {"forget": torch.arange(n), "forget_test": torch.arange(n, n + m), "test": torch.arange(n, n + m)}
    return Evidence(said(logits), torch.zeros(n + m, dtype=torch.int64), splits, forgotten)


def loss_divergence(given):
    return measure(given, ["loss_divergence"])["loss_divergence"]


def exponential(n, seed):
    return torch.empty(n, dtype=torch.float64).exponential_(generator=torch.Generator().manual_seed(seed)) + 1e-3


@pytest.mark.parametrize("forgotten", [(0,), ()], ids=["class", "images"])
def test_loss_divergence_agrees_with_the_published_procedure_in_scipy(forgotten):
    given = losses_evidence(0.5 * exponential(700, 1), exponential(400, 2), forgotten)
    a, b = (x.numpy() for x in losses_of_sides(given)[0])
    points = torch.linspace(min(a.min(), b.min()), max(a.max(), b.max()), 1000, dtype=torch.float64).numpy()
    assert loss_divergence(given).value == pytest.approx(jensenshannon(gaussian_kde(a)(points), gaussian_kde(b)(points)), abs=1e-9)


def test_loss_divergence_separates_a_model_that_remembers_from_one_that_never_saw():
    retrained = loss_divergence(losses_evidence(exponential(1500, 1), exponential(1504, 2)))
    original = loss_divergence(losses_evidence(0.01 * exponential(1500, 1), exponential(1504, 2)))
    exploded = loss_divergence(losses_evidence(50 + exponential(1500, 1), exponential(1504, 2)))
    assert retrained.value < 0.1 < 0.6 < original.value < exploded.value <= sqrt(log(2))
    assert retrained.detail == {"n": 1500, "n_unseen": 1504}


def test_loss_divergence_of_constant_losses_is_known_or_has_a_reason():
    same, others = torch.ones(50), exponential(50, 1)
    assert loss_divergence(losses_evidence(same, same)).value == 0
    assert loss_divergence(losses_evidence(same, 2 * same)).value == sqrt(log(2))
    reason = "the losses of the {} images are all equal: they have no density"
    assert loss_divergence(losses_evidence(same, others)).reason == reason.format("forgotten")
    assert loss_divergence(losses_evidence(others, same)).reason == reason.format("unseen")


def test_loss_divergence_stands_losses_of_any_size():
    given = losses_evidence(exponential(50, 1), exponential(50, 2))
    given.logits[:25, 0] = -1e30
    assert 0.5 < loss_divergence(given).value <= sqrt(log(2))


def test_zrf_agrees_with_scipy():
    own, random = normal(50, 7, scale=3), normal(50, 7, seed=1, scale=0.1)
    p, q = (x.double().softmax(1).numpy() for x in (own, random))
    assert zrf(own, random).value == pytest.approx(1 - (jensenshannon(p, q, base=2, axis=1) ** 2).mean(), abs=1e-12)


def test_published_zrf_is_what_the_published_formula_gives():
    own, random = normal(50, 7, scale=8), normal(50, 7, seed=1)
    p, q = (x.double().softmax(1) for x in (own, random))
    m = (p + q) / 2
    # Its `F.kl_div(log p, m)` means reduction="mean": over images and classes.
    parts = [F.kl_div(x.log(), m, reduction="none").mean().item() for x in (p, q)]
    assert zrf(own, random, official=True).value == pytest.approx(1 - 0.5 * parts[0] - 0.5 * parts[1], abs=1e-12)


def test_zrf_is_one_for_a_random_network_and_falls_with_certainty():
    random = normal(40, 20, seed=1, scale=0.1)
    assert zrf(random, random).value == 1 == zrf(random, random, official=True).value
    certain = 30 * F.one_hot(torch.arange(40) % 20, 20).float()
    values = [zrf(scale * certain, random).value for scale in (0.0, 0.1, 0.3, 1.0)]
    assert values == sorted(values, reverse=True)
    assert values[0] > 0.99 > 0.2 > values[-1]


def test_the_published_scale_flatters_by_about_the_number_of_classes():
    own, random = normal(200, 20, scale=1), normal(200, 20, seed=1, scale=0.1)
    true, published = zrf(own, random).value, zrf(own, random, official=True).value
    ratio = (1 - true) * log(2) / (1 - published)
    assert 15 < ratio < 25


def test_zrf_reaches_zero_where_nothing_is_shared_and_the_published_one_has_no_value_there():
    own, random = torch.tensor([[0.0, -torch.inf]] * 3), torch.tensor([[-torch.inf, 0.0]] * 3)
    assert zrf(own, random).value == 0
    assert zrf(own, random, official=True).reason == "the published formula has no value where a probability is 0"


def test_the_published_zrf_of_a_certain_model_with_few_classes_is_below_zero_and_the_true_one_is_not():
    own, random = torch.tensor([[1e4, 0.0]] * 3), torch.zeros(3, 2)
    assert zrf(own, random, official=True).value < -500
    assert 0 < zrf(own, random).value < 1


def test_zrf_takes_the_random_logits_in_the_order_of_the_forget_set():
    own, random = normal(10, 4), normal(3, 4, seed=1)
    index = torch.tensor([2, 5, 9])
    assert zrf(own, random, index=index) == zrf(own[index], random)
    assert zrf(own, random.flip(0), index=index) != zrf(own, random, index=index)


def test_zrf_reports_how_undecided_its_random_network_is():
    detail = zrf(normal(10, 4), torch.zeros(10, 4)).detail
    assert detail["random_entropy"] == pytest.approx(1, abs=1e-12)
    assert (detail["n"], detail["seed"]) == (10, 3)
    assert zrf(normal(10, 4), 1e6 * F.one_hot(torch.arange(10) % 4).float()).detail["random_entropy"] == 0


@pytest.mark.parametrize("official", [False, True])
def test_zrf_without_what_it_needs_is_a_reason(official):
    own = normal(4, 3)
    assert zrf(own, None, official).reason == "needs a network with random weights"
    assert zrf(own, own * torch.nan, official).reason == "the outputs of the network with random weights are not finite"
    assert zrf(own, own[:0], official, index=torch.arange(0)).reason == "there are no images to forget"


@given(st.integers(0, 2**31), st.floats(0, 50), st.integers(1, 6))
def test_divergences_stay_in_range(seed, scale, k):
    own, random = normal(6, k, seed=seed, scale=scale), normal(6, k, seed=seed + 1, scale=scale)
    assert 0 <= zrf(own, random).value <= 1
    assert zrf(own, random, official=True).value <= 1 + 1e-12
    assert 0 <= js(own, random).value <= log(2)
    assert isclose(js(own, random).value, js(random, own).value, abs_tol=1e-12)


@pytest.mark.parametrize("limit", ["zrf>=0.9", "zrf_official>=0.9"])
def test_a_limit_on_zrf_is_refused_before_measuring_where_no_random_network_is_made(limit):
    with pytest.raises(UnlearnError, match="needs a network with random weights") as caught:
        check_measurable(parse([limit]), True, True, ["classes"])
    assert "`unlearn evaluate` makes one" in caught.value.hint
    check_measurable(parse([limit]), False, False, ["images"], has_passes=True)
