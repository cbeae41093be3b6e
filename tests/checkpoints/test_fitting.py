"""A file's tensors find their places in the network where wrappers and exports alone stand between, and nowhere else."""

import pytest
import torch
from examples import record
from torch import nn

from unlearn_cli.checkpoints import store
from unlearn_cli.checkpoints.fitting import fit, prefix_of, weights_digest
from unlearn_cli.checkpoints.leftovers import remarks
from unlearn_cli.errors import UnlearnError

COUNTER = "norm.num_batches_tracked"


class Small(nn.Module):
    """A network with a BatchNorm layer."""

    def __init__(self, momentum: float | None = 0.1):
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2, momentum=momentum), nn.Linear(2, 3)


@pytest.fixture
def given():
    torch.manual_seed(0)
    model = Small()
    model.norm.num_batches_tracked.fill_(7)
    return {key: tensor.clone() for key, tensor in model.state_dict().items()}


def fitted(tensors, model=None):
    return fit(tensors, model or Small(), "file does not fit small", "check --arch.")


def refused(tensors, model=None):
    with pytest.raises(UnlearnError) as error:
        fitted(tensors, model)
    return error.value.problem


def test_what_fits_is_left_as_it_is(given):
    found, prefix = fitted(given)
    assert found is given
    assert prefix == ""


@pytest.mark.parametrize(
    "prefix", ["_orig_mod.", "module.", "model.", "net.", "state_dict.", "_orig_mod.module.", "module._orig_mod.model.", "student."]
)
@pytest.mark.parametrize("counted", [True, False])
def test_a_prefix_before_every_name_is_taken_off(given, prefix, counted):
    if not counted:
        del given[COUNTER]
    found, taken = fitted({prefix + key: tensor for key, tensor in given.items()})
    assert taken == prefix
    assert set(found) == set(Small().state_dict())
    assert all(found[key] is tensor for key, tensor in given.items())


def test_a_networks_own_first_name_is_no_prefix(given):
    """All of it lies in `module`: the name belongs to the network, and only what comes before it is taken off."""
    outer = nn.ModuleDict({"module": Small()})
    own = {f"module.{key}": tensor for key, tensor in given.items()}
    assert fitted(own, outer)[0] is own
    assert fitted({f"module.{key}": tensor for key, tensor in own.items()}, outer)[1] == "module."


def some(given, prefix, keys):
    return {prefix + key if key in keys else key: tensor for key, tensor in given.items()}


def test_a_prefix_before_some_names_is_named_and_counted(given):
    assert "(module. before 2 of 9 tensors; " in refused(some(given, "module.", ["conv.weight", "head.bias"]))
    assert "(module. before 1 of 9 tensors; " in refused(some(given, "module.", [COUNTER]))


def test_several_prefixes_are_all_named(given):
    mixed = {("net." if key.startswith("norm") else "module.") + key: tensor for key, tensor in given.items()}
    problem = refused(mixed)
    assert "net. before 5" in problem
    assert "module. before 4" in problem


def test_two_tensors_for_one_place_are_refused(given):
    problem = refused(given | {"module.head.bias": given["head.bias"] + 1})
    assert "module. before 1 of 10 tensors" in problem


def test_a_wrapper_around_a_part_is_named(given):
    inner = {key.replace("norm.", "norm.module."): tensor for key, tensor in given.items()}
    assert "the prefix module. stands within 5 of 9 names, as in norm.module." in refused(inner)


def test_what_lacks_or_has_too_much_without_its_prefix_is_said_with_it(given):
    prefixed = {f"module.{key}": tensor for key, tensor in given.items()}
    del prefixed["module.head.bias"]
    assert refused(prefixed) == "file does not fit small without the prefix module. of its names: it has no tensor head.bias."
    assert refused(given | {"scale": torch.zeros(1)}) == "file does not fit small: the architecture has no tensor scale."
    assert "it has no tensor conv.weight" in refused({"weight": torch.zeros(3)})


def test_no_common_prefix_is_none():
    assert prefix_of(["a.x", "b.x"], ["x"]) == ""
    assert prefix_of(["a.x", "a.y"], ["x", "y"]) == "a."
    assert prefix_of(["a.x", "a.y"], ["z"]) == ""


COUNTERS = {
    "missing": (None, 0),
    "float16": (torch.tensor(7.0, dtype=torch.float16), 7),
    "float64": (torch.tensor(7.0, dtype=torch.float64), 7),
    "int32": (torch.tensor(7, dtype=torch.int32), 7),
    "a vector of one": (torch.tensor([7]), 7),
    "overflowed": (torch.tensor(70_000.0).half(), 0),
    "its own": (torch.tensor(7), 7),
}


@pytest.mark.parametrize("counter, count", COUNTERS.values(), ids=COUNTERS)
def test_a_counter_in_any_form_is_a_whole_number(given, counter, count):
    without = {key: tensor for key, tensor in given.items() if key != COUNTER}
    found, _ = fitted(without if counter is None else without | {COUNTER: counter})
    assert (found[COUNTER].dtype, found[COUNTER].shape, found[COUNTER].item()) == (torch.int64, (), count)
    Small().load_state_dict(found)


def test_a_counter_that_is_none_is_refused(given):
    assert "has the shape (2,)" in refused(given | {COUNTER: torch.zeros(2)})


def test_a_counter_that_is_read_must_be_there(given):
    """Without a momentum, the next running mean depends on the count."""
    del given[COUNTER]
    assert f"it has no tensor {COUNTER}" in refused(given, Small(momentum=None))


@pytest.mark.parametrize("key", ["norm.running_mean", "norm.running_var", "norm.weight", "conv.bias"])
def test_any_other_tensor_must_be_there_and_of_its_kind(given, key):
    assert f"{key} holds torch.int64" in refused(given | {key: given[key].long()})
    del given[key]
    assert f"it has no tensor {key}" in refused(given)


def test_the_same_weights_have_one_digest_whatever_their_type_and_counters(given):
    same = {key: tensor.double() for key, tensor in given.items() if key != COUNTER}
    assert weights_digest(same) == weights_digest(given)
    other = given | {"head.bias": given["head.bias"] + 1e-6}
    assert weights_digest(other) != weights_digest(given)
    finer = same | {"head.bias": same["head.bias"] + 1e-12}
    assert weights_digest(finer) != weights_digest(given)


# copies of the network


def under(prefix, given, change=0):
    return {prefix + key: tensor + change for key, tensor in given.items()}


def said(tensors, model=None):
    """What was taken and what is said of the rest."""
    found, prefix = fitted(tensors, model)
    assert set(found) == set((model or Small()).state_dict())
    return found, remarks(tensors, found, prefix, "m")


COPIES = [("", "ema."), ("", "model_ema."), ("model.", "ema_model.module."), ("model.", "model_ema."), ("net.", "net.ema."),
          ("module.", "module.ema_model.module."), ("online_model.", "ema_model.")]  # fmt: skip


@pytest.mark.parametrize("prefix, averaged", COPIES)
def test_of_a_plain_and_an_averaged_copy_the_plain_one_is_taken_and_both_are_said(given, prefix, averaged):
    both = under(averaged, given, 1) | {f"{averaged}n_averaged": torch.tensor(3)} | under(prefix, given)
    found, notes = said(both)
    assert all(torch.equal(found[key], tensor) for key, tensor in given.items())
    assert any("an EMA copy of the weights (10 tensors under" in note and "no output holds it" in note for note in notes)
    assert not prefix or f"the prefix {prefix} was taken off the names of the network's 9 tensors of m" in notes


def test_an_averaged_copy_may_hold_weights_alone_or_names_without_dots(given):
    weights = {key: tensor for key, tensor in given.items() if key.endswith((".weight", ".bias"))}
    assert "(6 tensors under ema.)" in said(given | under("ema.", weights, 1))[1][0]
    flat = {"model_ema." + key.replace(".", ""): tensor for key, tensor in given.items()}
    assert "(9 tensors under model_ema.)" in said(given | flat)[1][0]


def test_an_averaged_copy_alone_is_the_network(given):
    found, notes = said(under("ema.", given) | {"ema.decay": torch.tensor(0.9)})
    assert torch.equal(found["conv.weight"], given["conv.weight"])
    assert "the prefix ema. was taken off" in notes[0]


def test_an_averaged_copy_of_another_network_is_refused(given):
    assert "ema. before 1 of 10 tensors" in refused(given | {"ema.conv.weight": torch.ones(5, 5)})
    assert "ema.other.weight" in refused(given | {"ema.other.weight": torch.ones(2, 3)})


@pytest.mark.parametrize("one, other", [("student.", "teacher."), ("a.", "b."), ("", "target."), ("ema_a.", "ema_b.")])
def test_of_two_plain_copies_none_is_taken_and_both_are_named(given, one, other):
    problem = refused(under(one, given) | under(other, given, 1))
    assert f"2 copies of the network, under {one or 'no prefix'}, {other}." in problem


def test_an_averaged_copy_does_not_stand_in_for_a_broken_plain_one(given):
    broken = under("model.", given)
    del broken["model.head.bias"]
    assert "model." in refused(broken | under("ema.", given))


# what is no part of the network


def test_what_training_leaves_outside_the_networks_prefix_is_left_aside_and_named(given):
    more = {"criterion.weight": torch.ones(3), "metric.confmat": torch.zeros(3, 3, dtype=torch.int64)}
    _, notes = said(under("model.", given) | more)
    assert "2 tensors of m are none that the network saves, left aside and in no output: criterion.weight, metric.confmat" in notes
    many = {f"metric.{i}": torch.tensor(i) for i in range(7)}
    assert said(under("model.", given) | many)[1][1].endswith("metric.3, metric.4 and 2 more")


@pytest.mark.parametrize("name, tensor", [
    ("loss_fn.W", torch.ones(3, 2)), ("discriminator.conv.weight", torch.ones(2, 1, 3, 3)), ("head.bias", torch.ones(3)),
    ("teacher.head.bias", torch.ones(3)), ("norm.num_batches_tracked", torch.tensor(1)), ("model.scale", torch.ones(1)),
    ("model.conv.mask", torch.ones(2, dtype=torch.bool)),
])  # fmt: skip
def test_what_may_be_weights_or_is_in_the_network_is_refused_by_name(given, name, tensor):
    assert name.removeprefix("model.").split(".")[0] in refused(under("model.", given) | {name: tensor})


def test_without_a_prefix_nothing_lies_outside(given):
    assert "no tensor criterion.weight" in refused(given | {"criterion.weight": torch.ones(3)})


def test_what_a_profiler_counted_is_left_aside(given):
    counts = {"total_ops": torch.zeros(1), "conv.total_params": torch.zeros(1, dtype=torch.float64)}
    assert "conv.total_params, total_ops" in said(given | counts)[1][0]


class Windowed(Small):
    """A network that computes two buffers, one of which it saves."""

    def __init__(self):
        super().__init__()
        self.register_buffer("attn_mask", torch.tensor([[0.0, -100.0]]), persistent=False)
        self.register_buffer("relative_position_index", torch.arange(4))


def test_a_buffer_that_versions_save_or_not_may_be_there_or_not(given):
    index = {"relative_position_index": torch.arange(4)}
    assert said(given | index, Windowed())[1] == []
    found, notes = said(given | index | {"attn_mask": torch.tensor([[0.0, -100.0]]).half()}, Windowed())
    assert "attn_mask" in notes[0] and "attn_mask" not in found
    found, notes = said(given, Windowed())
    assert notes == ["m lacks relative_position_index, which the network computes by itself"]
    assert torch.equal(found["relative_position_index"], torch.arange(4))
    other = given | index | {"attn_mask": torch.tensor([[0.0, -1.0]])}
    assert "attn_mask is not what the network computes" in refused(other, Windowed())
    whole = given | index | {"attn_mask": torch.tensor([[0.0, -100.0]])}
    found, notes = said(under("model.", whole) | under("ema.", whole, 1), Windowed())
    assert "(11 tensors under ema.)" in notes[1] and "model.attn_mask" in notes[2]


def test_positions_are_left_aside_where_they_are_just_counted(given):
    assert "position_ids" in said(given | {"embed.position_ids": torch.arange(5)[None]})[1][0]
    assert "no tensor embed.position_ids" in refused(given | {"embed.position_ids": torch.tensor([0, 2, 1])})


# one weight under two names


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.head = nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 3)
        self.b.weight = self.a.weight


@pytest.mark.parametrize("prefix", ["", "model."])
def test_a_weight_of_two_names_may_be_saved_under_one(tmp_path, prefix):
    model = Tied()
    for left_out in ((), ("a.weight",), ("b.weight",)):
        given = {prefix + key: tensor for key, tensor in model.state_dict().items() if key not in left_out}
        name = store.write_plain(str(tmp_path / "m"), given, force=True)
        found, taken = fitted(store.read(name).tensors, Tied())
        assert taken == prefix
        assert torch.equal(found["a.weight"], model.a.weight) and torch.equal(found["b.weight"], model.a.weight)


def test_a_weight_of_two_names_is_one_after_it_was_trained(tmp_path):
    model = Tied()
    given = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    model.load_state_dict(fitted(given, model)[0])
    model.head(model.b(model.a(torch.ones(1, 2)))).sum().backward()
    torch.optim.SGD(model.parameters(), lr=0.1).step()
    written = store.read(store.write(str(tmp_path / "m"), model.state_dict(), record())).tensors
    assert torch.equal(written["a.weight"], written["b.weight"])
    assert not torch.equal(written["a.weight"], given["a.weight"])
    assert fitted(written, Tied())[0] is written


def test_a_weight_of_two_names_and_two_values_is_refused():
    given = {key: tensor.clone() for key, tensor in Tied().state_dict().items()}
    assert fitted(given, Tied())[0] is given
    for other in (given["b.weight"] + 1, given["b.weight"].double()):
        assert "a.weight and b.weight are one weight of the network" in refused(given | {"b.weight": other}, Tied())
    del given["a.weight"], given["b.weight"]
    assert "it has no tensor a.weight" in refused(given, Tied())


# types


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_every_float_type_stays_as_it_is(given, dtype):
    mixed = {key: tensor.to(dtype) if key.startswith(("conv", COUNTER)) else tensor for key, tensor in given.items()}
    found, _ = fitted({f"model.{key}": tensor for key, tensor in mixed.items()})
    assert found["conv.weight"].dtype == dtype and found["head.weight"].dtype == torch.float32
    assert found[COUNTER].dtype == torch.int64
