"""A file's tensors find their places in the network where wrappers and exports alone stand between, and nowhere else."""

import pytest
import torch
from torch import nn

from unlearn_cli.checkpoints.fitting import fit, prefix_of, weights_digest
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
    assert refused(given | {"total_ops": torch.zeros(1)}) == "file does not fit small: the architecture has no tensor total_ops."
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
