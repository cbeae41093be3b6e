"""The state dict in what a training script saved: found where it is, told apart from what lies beside it, or not taken."""

import pytest
import torch
from torch import nn

from unlearn_cli.checkpoints.importing import state_dict_of
from unlearn_cli.errors import UnlearnError


def state(value=0.0):
    return {"conv.weight": torch.full((2, 1, 3, 3), value), "inner.conv.weight": torch.full((2, 2, 3, 3), value),
            "norm.running_mean": torch.full((2,), value), "norm.num_batches_tracked": torch.tensor(7)}  # fmt: skip


def under(prefix, tensors):
    return {prefix + key: tensor for key, tensor in tensors.items()}


OPTIMIZER = {"state": {0: {"step": torch.tensor(3.0), "exp_avg": torch.ones(2)}}, "param_groups": [{"lr": 0.1}]}
SCHEDULER = {"last": torch.tensor(1.0)}
REST = {"optimizer": OPTIMIZER, "lr_scheduler": SCHEDULER, "epoch": 3, "best": torch.tensor(0.7), "args": object()}


def taken(data, key=None):
    return state_dict_of(data, "m.pth", key)


def refused(data, key=None):
    with pytest.raises(UnlearnError) as error:
        taken(data, key)
    assert error.value.hint
    return error.value.problem


@pytest.mark.parametrize("key", ["state_dict", "model", "model_state_dict", "net", "network", "module", "weights", "params",
                                 "model_state", "my_classifier"])  # fmt: skip
def test_a_state_dict_is_found_under_its_key(key):
    found = taken({key: state(1)} | REST)
    assert found.key == key
    assert found.tensors.keys() == state().keys()
    assert torch.equal(found.tensors["conv.weight"], state(1)["conv.weight"])
    assert found.left == ["optimizer (2 tensors)", "lr_scheduler (1 tensor)", "epoch", "best (1 tensor)", "args"]


def test_it_may_be_the_file_itself_or_lie_once_deeper():
    assert taken(state()).key == ""
    assert taken({"model": {"state_dict": state(), "config": {}}} | REST).key == "model.state_dict"
    assert taken({"checkpoint": {"model": state()}}).key == "checkpoint.model"
    assert "holds no state dict" in refused({"a": {"b": {"c": state()}}})
    assert taken({"a": {"b": {"c": state()}}}, "a.b").key == "a.b.c"


def test_what_is_no_tensor_is_left_out_of_it():
    found = taken(state() | {"epoch": 3, "head._extra_state": None})
    assert found.tensors.keys() == state().keys()
    assert found.left == ["epoch", "head._extra_state"]


@pytest.mark.parametrize("keys", [("generator", "discriminator"), ("model", "net"), ("state_dict", "weights")])
def test_of_several_that_are_equally_good_none_is_taken(keys):
    one, other = keys
    data = {one: state(1), other: state(2)} | REST
    problem = refused(data)
    assert f"several state dicts: {one} (4 tensors), {other} (4 tensors), optimizer (2 tensors)" in problem
    assert torch.equal(taken(data, other).tensors["conv.weight"], state(2)["conv.weight"])
    assert taken({one: state(1), other: state(1)}).key == one, "two that are the same are one"


@pytest.mark.parametrize("data, problem", [
    ({}, "holds no tensors"), ({"epoch": 1}, "holds no tensors"), ({"optimizer": OPTIMIZER}, "optimizer (2 tensors)"),
    ([torch.ones(2)], "holds a list of 1 tensor"), (torch.ones(2), "a lone tensor"), (3, "one int"), ((), "a tuple"),
    ({0: torch.ones(2)}, "0 (1 tensor)"),
])  # fmt: skip
def test_where_there_is_none_it_is_said_what_there_is(data, problem):
    assert problem in refused(data)


def test_a_dictionary_that_contains_itself_has_an_end():
    data = {}
    data["again"] = {"more": data}
    assert "holds no tensors" in refused(data)


def test_a_key_that_leads_nowhere_is_refused_with_those_that_there_are():
    data = {"model": state()} | REST
    assert "has no key nowhere" in refused(data, "nowhere")
    assert "optimizer of m.pth is no state dict: it holds state (2 tensors)" in refused(data, "optimizer")
    assert "it is one int" in refused(data, "epoch")
    assert "it is a lone tensor" in refused(data, "model.conv.weight")


# averaged copies


@pytest.mark.parametrize("plain, averaged", [("state_dict", "state_dict_ema"), ("model", "model_ema"), ("net", "ema"),
                                             ("mine", "ema_state_dict")])  # fmt: skip
def test_an_averaged_copy_is_left_behind_and_said(plain, averaged):
    data = {averaged: state(2), plain: state(1)} | REST
    found = taken(data)
    assert found.key == plain
    assert f"an EMA copy of the weights is in the file as well (4 tensors): --key {averaged} takes that one" in found.notes
    asked = taken(data, averaged)
    assert torch.equal(asked.tensors["conv.weight"], state(2)["conv.weight"])
    assert not asked.notes


def test_an_averaged_copy_alone_is_taken_and_said():
    found = taken({"ema": state()} | REST)
    assert found.key == "ema"
    assert "EMA copy by its name, and the only state dict" in found.notes[0]


@pytest.mark.parametrize("plain, averaged", [("model.", "ema_model.module."), ("", "ema."), ("net.", "net_ema.")])
def test_averaged_names_are_told_apart_from_plain_ones(plain, averaged):
    root = averaged.split(".")[0]
    data = {"state_dict": under(plain, state(1)) | under(averaged, state(2)) | {f"{root}.n_averaged": torch.tensor(5)}}
    found = taken(data)
    assert found.tensors.keys() == under(plain, state()).keys()
    assert f"(5 tensors): --key state_dict.{root} takes that one" in found.notes[0]
    assert found.left == [f"state_dict.{root} (5 tensors)"]
    other = taken(data, f"state_dict.{root}")
    inside = averaged.removeprefix(f"{root}.")
    assert other.tensors.keys() == under(inside, state()).keys() | {"n_averaged"}
    assert torch.equal(other.tensors[f"{inside}conv.weight"], state(2)["conv.weight"])


def test_averaged_names_that_are_no_copy_or_stand_alone_stay():
    other = state() | {"ema.codebook": torch.ones(4, 4)}
    assert taken(other).tensors.keys() == other.keys()
    alone = under("ema.", state())
    assert taken(alone).tensors.keys() == alone.keys()


def test_prefixes_stay_as_they_are_in_the_file():
    assert taken({"state_dict": under("model.", state())}).tensors.keys() == under("model.", state()).keys()


# the tensors


def test_shared_and_strided_tensors_become_contiguous_ones_of_their_own():
    weight = torch.arange(12.0).reshape(3, 4)
    found = taken({"a": weight, "b": weight, "c": weight.t()})
    assert all(tensor.is_contiguous() for tensor in found.tensors.values())
    assert torch.equal(found.tensors["c"], weight.t())
    assert len({tensor.data_ptr() for tensor in (weight, *found.tensors.values())}) == 4
    assert found.notes == ["2 tensors shared memory with others, as tied weights do: each is written as a copy"]
    assert not taken(state()).notes


def test_parameters_are_plain_tensors_afterwards():
    found = taken({"w": nn.Parameter(torch.ones(2))}).tensors["w"]
    assert type(found) is torch.Tensor and not found.requires_grad


class Other(torch.Tensor):
    pass


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("make, problem", [
    (lambda: torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8), "is quantised"),
    (lambda: torch.eye(3).to_sparse(), "is sparse coo"),
    (lambda: torch.ones(2, dtype=torch.complex64), "holds torch.complex64"),
    (lambda: torch.ones(2).to(torch.float8_e4m3fn), "holds torch.float8_e4m3fn"),
    (lambda: torch.ones(2, device="meta"), "has no values"),
    (lambda: torch.ones(2).as_subclass(Other), "is a Other"),
    (lambda: torch.tensor([1.0, float("nan")]), "not finite"),
    (lambda: torch.tensor([1.0, float("inf")]).half(), "not finite"),
])  # fmt: skip
def test_a_tensor_that_no_file_can_hold_is_refused_by_name(make, problem):
    said = refused(state() | {"odd.weight": make()})
    assert "m.pth: the tensor odd.weight" in said
    assert problem in said


def test_a_counter_may_have_overflowed():
    found = taken(state() | {"norm.num_batches_tracked": torch.tensor(float("inf")).half()})
    assert found.tensors["norm.num_batches_tracked"].dtype == torch.float16


@pytest.mark.parametrize("name", ["__metadata__", "a\0b", "a\nb", "\ud800"])
def test_a_name_that_no_file_can_hold_is_refused(name):
    assert "has a name that no safetensors file can hold" in refused({name: torch.ones(1)})


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16, torch.int8, torch.bool, torch.uint16])
def test_types_stay(dtype):
    assert taken({"w": torch.ones(2).to(dtype)}).tensors["w"].dtype == dtype
