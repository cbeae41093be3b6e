"""The vision transformer: what its tokens see, and what it cannot be built of."""

import pytest
import torch

from unlearn_cli import models
from unlearn_cli.errors import UnlearnError

SMALL = {"width": 12, "depth": 2, "heads": 2, "mlp": 2}


def build(size=16, channels=3, **more):
    torch.manual_seed(0)
    return models.build("vit", 5, channels, SMALL | more, size).eval()


@pytest.mark.parametrize("tokens", ["patches", "shifted"])
@pytest.mark.parametrize("size", [16, (8, 20)])
def test_any_size_that_its_patches_divide_gives_a_logit_per_class(tokens, size):
    height, width = (size, size) if isinstance(size, int) else size
    model = build(size, tokens=tokens)
    assert model(torch.randn(3, 3, height, width)).shape == (3, 5)
    assert model.positions.shape[1] == height * width // 16 + 1


@pytest.mark.parametrize(("size", "more", "problem", "hint"), [
    (30, {}, "patches of 4 pixels, and 30 x 30 is no multiple of it", "pass --size 32"),
    ((32, 30), {}, "32 x 30 is no multiple", "patch=N"),
    (32, {"heads": 5}, "12 is no multiple of 5", "heads=1"),
    (32, {"tokens": "shifted", "patch": 1}, "patch=1 has no half", "patch=2"),
])  # fmt: skip
def test_what_does_not_come_out_even_is_one_clear_error(size, more, problem, hint):
    with pytest.raises(UnlearnError, match=problem) as error:
        build(size, **more)
    assert hint in error.value.hint


@pytest.mark.parametrize(("tokens", "low", "high"), [("patches", 2.69e6, 2.72e6), ("shifted", 2.69e6, 2.75e6)])
def test_it_has_the_size_it_promises(tokens, low, high):
    assert low <= sum(p.numel() for p in models.build("vit", 10, 3, {"tokens": tokens}, 32).parameters()) <= high


@pytest.mark.parametrize(("tokens", "sees"), [("patches", range(4, 8)), ("shifted", range(2, 10))])
def test_a_shifted_token_sees_half_a_patch_more_on_every_side(tokens, sees):
    model, x = build(tokens=tokens).double(), torch.randn(1, 3, 16, 16, dtype=torch.float64, requires_grad=True)
    model.embed(x)[0, 5].square().sum().backward()      # the second patch of the second row
    seen = x.grad[0].abs().sum(0) > 0
    for side in (0, 1):
        assert seen.any(side).nonzero()[:, 0].tolist() == list(sees)


def test_a_shifted_token_is_made_of_the_image_and_its_diagonal_shifts():
    """Against shifts written out one by one."""
    embed, x = build(tokens="shifted").embed.double(), torch.randn(2, 3, 16, 16, dtype=torch.float64)
    parts = [x]
    for down, right in ((2, 2), (2, -2), (-2, 2), (-2, -2)):
        moved = torch.zeros_like(x)
        for row in range(16):
            for column in range(16):
                if 0 <= row - down < 16 and 0 <= column - right < 16:
                    moved[:, :, row, column] = x[:, :, row - down, column - right]
        parts.append(moved)
    patch = torch.cat(parts, 1)[:, :, 4:8, 8:12].flatten(1)
    torch.testing.assert_close(embed(x)[:, 1 * 4 + 2], embed.project(embed.norm(patch)))


@pytest.mark.parametrize(("tokens", "itself"), [("patches", True), ("shifted", False)])
def test_with_shifted_tokens_none_attends_to_itself(tokens, itself):
    """Seen from a token's value: whether its own part of the attention's output depends on it."""
    layer = build(tokens=tokens).blocks[0].attention.double()
    width = layer.output.in_features
    with torch.no_grad():
        layer.inputs.weight[: 2 * width] = 0.0      # queries and keys: everybody attends to everybody alike
    x = torch.randn(1, 17, width, dtype=torch.float64, requires_grad=True)
    layer(x)[0, 3].sum().backward()
    assert bool(x.grad[0, 3].abs().sum() > 0) == itself
    assert (x.grad[0].abs().sum(1) > 0).sum() == 16 + itself


def test_a_layers_temperature_is_learned_and_begins_at_the_root_of_its_keys_length():
    shifted, plain = build(tokens="shifted"), build()
    assert shifted.blocks[0].attention.temperature.item() == pytest.approx(6**0.5) == plain.blocks[0].attention.temperature
    shifted(torch.randn(2, 3, 16, 16)).logsumexp(1).sum().backward()
    assert all(block.attention.temperature.grad for block in shifted.blocks)


def test_its_decay_spares_what_is_no_matrix():
    model, recipe = build(tokens="shifted"), models.recipe("vit")
    names = {id(p): name for name, p in model.named_parameters()}
    spared = {names[id(p)] for group, _, decay in recipe.parts(model, model.head) for p in group if not decay}
    assert {"class_token", "positions", "norm.weight", "head.bias", "blocks.0.attention.temperature"} <= spared
    assert not [name for name in spared if name.endswith(("inputs.weight", "project.weight", "head.weight", "mlp.0.weight"))]
