"""The digest identifies the tensors: not the file around them, and nothing less than every bit."""

import torch
from examples import record, tensors
from safetensors.torch import save_file

from unlearn_cli.checkpoints import store


def test_the_digest_does_not_depend_on_the_order_of_the_tensors():
    assert store.digest(dict(reversed(tensors().items()))) == store.digest(tensors())


def test_the_digest_does_not_depend_on_the_header(tmp_path):
    save_file(tensors(), tmp_path / "plain.safetensors", {"other": "metadata"})
    store.write(str(tmp_path / "ours.safetensors"), tensors(), record())
    plain, ours = (store.read(str(tmp_path / f"{name}.safetensors")) for name in ("plain", "ours"))
    assert plain.digest == ours.digest == store.digest(tensors())


def test_the_digest_does_not_depend_on_strides():
    strided = tensors() | {"head.weight": tensors()["head.weight"].T.contiguous().T}
    assert store.digest(strided) == store.digest(tensors())


def changed(name, tensor):
    return store.digest(tensors() | {name: tensor})


def test_one_bit_changes_the_digest():
    weight = tensors()["head.weight"]
    weight.view(torch.int32)[2, 4] ^= 1
    assert changed("head.weight", weight) != store.digest(tensors())


def test_the_sign_of_a_zero_changes_the_digest():
    assert changed("zero", torch.tensor([0.0])) != changed("zero", torch.tensor([-0.0]))


def test_the_type_alone_changes_the_digest():
    assert changed("zero", torch.zeros(4, dtype=torch.float32)) != changed("zero", torch.zeros(4, dtype=torch.int32))


def test_the_shape_alone_changes_the_digest():
    assert changed("head.weight", tensors()["head.weight"].view(5, 3)) != store.digest(tensors())


def test_the_name_alone_changes_the_digest():
    renamed = tensors()
    renamed["head.w"] = renamed.pop("head.weight")
    assert store.digest(renamed) != store.digest(tensors())
