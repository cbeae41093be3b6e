from dataclasses import asdict, fields

import pytest
import torch
from torch import nn
from torch.nn.functional import unfold

from unlearn_cli import models
from unlearn_cli.errors import UnlearnError
from unlearn_cli.models.compact import whiten_
from unlearn_cli.models.recipes import Recipe
from unlearn_cli.ops.features import find_head


def smallest(arch):
    """Every number among an architecture's settings at its declared least, for networks that are quick."""
    settings = models.settings(arch)
    return {name: one.limits["ge"] for name, one in settings.items() if one.plain in (int, float) and "ge" in one.limits}


NARROW = {"width": 4}


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def count(model):
    return sum(p.numel() for p in model.parameters())


def spatially_correlated_images(n=200, channels=3, size=16):
    images = torch.randn(n, channels, size, size)
    return images.cumsum(2).cumsum(3) / size + 0.3


def test_architectures_are_found_by_their_files():
    assert {"allcnn", "compact", "resnet18"} <= set(models.names())
    assert "recipes" not in models.names()


@pytest.mark.parametrize("arch", models.names())
@pytest.mark.parametrize("size", [28, 31, 32, 64])
@pytest.mark.parametrize("channels", [1, 3])
def test_any_size_and_channels_give_one_logit_per_class(arch, size, channels):
    model = models.build(arch, 7, channels, smallest(arch), size)
    assert model(torch.randn(2, channels, size, size)).shape == (2, 7)


@pytest.mark.parametrize("arch", models.names())
def test_the_last_module_is_a_linear_head_whose_outputs_are_the_logits(arch):
    model = models.build(arch, 5, 3, smallest(arch)).eval()
    head = list(model.modules())[-1]
    seen = []
    head.register_forward_hook(lambda module, inputs, output: seen.append((inputs[0], output)))
    logits = model(torch.randn(3, 3, 32, 32))
    assert type(head) is nn.Linear and head.bias is not None
    assert torch.equal(seen[0][1], logits)
    assert seen[0][0].shape == (3, head.in_features)
    assert model.get_submodule(find_head(model, 5)) is head


@pytest.mark.parametrize("arch", models.names())
def test_the_same_seed_builds_the_same_weights(arch):
    states = []
    for _ in range(2):
        torch.manual_seed(3)
        states.append(models.build(arch, 10, 3, smallest(arch)).state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


@pytest.mark.parametrize("arch", models.names())
def test_a_state_dict_restores_the_outputs(arch):
    model, other = (models.build(arch, 10, 3, smallest(arch)).eval() for _ in range(2))
    other.load_state_dict(model.state_dict())
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(model(x), other(x))


@pytest.mark.parametrize("arch", models.names())
def test_every_weight_gets_a_gradient(arch):
    model = models.build(arch, 10, 3, smallest(arch))
    model(torch.randn(8, 3, 32, 32)).logsumexp(1).sum().backward()
    assert all(p.requires_grad and p.grad is not None for p in model.parameters())


@pytest.mark.parametrize(
    ("arch", "settings", "low", "high"),
    [
        ("resnet18", {}, 11.16e6, 11.19e6),
        ("resnet18", {"width": 16}, 0.69e6, 0.71e6),
        ("allcnn", {}, 1.36e6, 1.38e6),
        ("compact", {}, 0.45e6, 0.55e6),
        ("compact", {"width": 64}, 1.9e6, 2.05e6),
    ],
)
def test_networks_have_the_size_they_promise(arch, settings, low, high):
    assert low <= count(models.build(arch, 10, 3, settings)) <= high


def test_resnet18_has_the_state_dict_of_torchvision_but_for_the_stem():
    torchvision = pytest.importorskip("torchvision")
    theirs = torchvision.models.resnet18(weights=None, num_classes=10).state_dict()
    ours = models.build("resnet18", 10).state_dict()
    assert list(ours) == list(theirs)
    assert [name for name in ours if ours[name].shape != theirs[name].shape] == ["conv1.weight"]


@pytest.mark.parametrize("arch", models.names())
def test_defaults_are_what_build_uses(arch):
    sizes = [count(models.build(arch, 10, 3, settings)) for settings in (None, models.defaults(arch))]
    assert sizes[0] == sizes[1]


def test_what_a_recipe_lets_users_set_is_what_it_holds_but_for_the_frozen_names():
    recipe = models.recipe("compact")
    assert set(models.recipe_settings()) == {field.name for field in fields(recipe)} - {"frozen"}


@pytest.mark.parametrize("arch", models.names())
def test_recipes_keep_to_their_own_ranges(arch):
    values = asdict(models.recipe(arch))
    for name, setting in models.recipe_settings().items():
        assert setting.parse(values[name]) == values[name]


def test_settings_given_as_text_become_numbers():
    assert count(models.build("compact", 10, 3, {"width": "8"})) == count(models.build("compact", 10, 3, {"width": 8}))


@pytest.mark.parametrize("ask", [models.defaults, models.recipe, lambda arch: models.build(arch, 10)])
def test_an_unknown_architecture_is_refused_with_the_closest_name(ask):
    with pytest.raises(UnlearnError, match="no architecture called 'resnet8'") as error:
        ask("resnet8")
    assert error.value.hint == f"did you mean 'resnet18'? {models.known()}"
    assert all(name in models.known() for name in [*models.names(), "vgg16", "torchvision/NAME", "timm/NAME", "FILE.py:NAME"])


def test_recipes_are_not_an_architecture():
    with pytest.raises(UnlearnError):
        models.recipe("recipes")


def test_an_unknown_setting_is_refused_with_the_closest_name():
    with pytest.raises(UnlearnError, match="compact has no setting called 'widht'") as error:
        models.build("compact", 10, 3, {"widht": 8})
    assert error.value.hint == "did you mean 'width'?"


@pytest.mark.parametrize("arch", models.names())
@pytest.mark.parametrize("value", [-4, 10**40, "wide", None])
def test_a_setting_out_of_range_is_refused(arch, value):
    for name in smallest(arch):
        with pytest.raises(UnlearnError, match=f"{name}={value} is ") as error:
            models.build(arch, 10, 3, {name: value})
        assert error.value.hint.startswith("allowed: ")


@pytest.mark.parametrize("width", [0, 100_000, 8.5])
def test_a_width_out_of_range_is_refused_with_the_default(width):
    with pytest.raises(UnlearnError, match=f"width={width} is not allowed") as error:
        models.build("compact", 10, 3, {"width": width})
    assert "default 32" in error.value.hint


@pytest.mark.parametrize("channels", [1, 3])
def test_whitened_patches_have_identity_covariance(channels):
    model = models.build("compact", 10, channels, NARROW).double()
    images = spatially_correlated_images(channels=channels)
    whiten_(model, images, epsilon=0)
    outputs = model.whiten(images.double())
    half = outputs.shape[1] // 2
    covariance = torch.cov(outputs[:, :half].transpose(0, 1).flatten(1), correction=0)
    torch.testing.assert_close(covariance, torch.eye(half, dtype=torch.float64), rtol=0, atol=1e-4)
    assert torch.equal(model.whiten.weight[half:], -model.whiten.weight[:half])


def test_patches_are_far_from_white_before():
    patches = unfold(spatially_correlated_images(), 2).transpose(0, 1).flatten(1)
    assert (torch.cov(patches) - torch.eye(12)).abs().max() > 0.5


def test_whitening_stays_finite_on_images_of_one_colour():
    model = models.build("compact", 10, 3, NARROW)
    whiten_(model, torch.full((10, 3, 28, 28), -1.7))
    assert model.whiten.weight.isfinite().all()


def test_prepare_sets_nothing_but_what_the_recipe_freezes():
    model = models.build("compact", 10, 3, NARROW)
    before = {name: p.clone() for name, p in model.named_parameters()}
    models.prepare(model, spatially_correlated_images())
    changed = tuple(name for name, p in model.named_parameters() if not torch.equal(p, before[name]))
    assert changed == ("whiten.weight",)
    assert set(changed) <= set(models.recipe("compact").frozen)
    assert all(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("arch", models.names())
def test_prepare_leaves_networks_alone_that_take_nothing_from_data(arch):
    model = models.build(arch, 10, 3, smallest(arch))
    if hasattr(model, "prepare"):
        return
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    models.prepare(model, spatially_correlated_images())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_a_fresh_compact_convolution_copies_its_inputs():
    conv = models.build("compact", 10, 3, {"width": 32}).group1.conv1
    x = torch.randn(2, 24, 9, 9)
    torch.testing.assert_close(conv(x)[:, :24], x)


@pytest.mark.parametrize("arch", models.names())
def test_frozen_names_are_parameters_of_the_network(arch):
    parameters = dict(models.build(arch, 10, 3, smallest(arch)).named_parameters())
    assert set(models.recipe(arch).frozen) <= parameters.keys()


@pytest.mark.parametrize("arch", [name for name in models.names() if models.recipe(name).schedule == "triangular"])
def test_the_rate_rises_to_its_peak_once_and_falls_to_its_end(arch):
    recipe, steps = models.recipe(arch), 1000
    rates = [recipe.rate(step, steps) for step in range(steps)]
    top = rates.index(max(rates))
    assert rates[0] == pytest.approx(recipe.start * recipe.lr)
    assert rates[top] == pytest.approx(recipe.lr, rel=1e-2) and top == pytest.approx(recipe.peak * steps, abs=1)
    assert rates[-1] == pytest.approx(recipe.end * recipe.lr, abs=0.01 * recipe.lr)
    assert rates[: top + 1] == sorted(rates[: top + 1]) and rates[top:] == sorted(rates[top:], reverse=True)


@pytest.mark.parametrize("arch", models.names())
@pytest.mark.parametrize("steps", [1, 2, 3, 49])
def test_very_short_trainings_have_a_rate_and_are_not_averaged(arch, steps):
    recipe = models.recipe(arch)
    assert all(0 < recipe.rate(step, steps) <= recipe.lr for step in range(steps))
    assert [recipe.average(step, steps) for step in range(1, steps + 1)] == [None] * steps


def test_slow_weights_follow_less_and_less():
    recipe = Recipe(epochs=1, lr=1.0, lookahead_every=5, lookahead_decay=0.9)
    keeps = [recipe.average(step, 1000) for step in range(1, 1001)]
    taken = [keep for keep in keeps if keep is not None]
    assert len(taken) == 200 and taken == sorted(taken)
    assert taken[0] < 1e-6 and taken[-1] == pytest.approx(0.9**5)
