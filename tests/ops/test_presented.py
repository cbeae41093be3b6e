"""Any classifier becomes one whose last step is a linear layer, and its tensors find the way back."""

import copy
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn.functional import linear

from unlearn_cli.errors import UnlearnError
from unlearn_cli.ops.features import Backbone
from unlearn_cli.ops.presented import JOINED, as_library, as_network, take
from unlearn_cli.ops.presenting import present

CLASSES, WIDTH = 5, 6


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def body(width=WIDTH):
    return nn.Sequential(nn.Conv2d(3, width, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1))


class Net(nn.Module):
    """A body, and ways from its (n, d, 1, 1) map to an answer."""

    def __init__(self, answer=lambda scores: scores, **heads):
        super().__init__()
        self.body = body()
        self.answer = answer
        for name, head in heads.items():
            setattr(self, name, head)

    def forward(self, x):
        return self.answer(self.head(self.body(x)))


class Pair(nn.Module):
    """Two heads whose scores are averaged, on features of their own widths."""

    def __init__(self, widths=(WIDTH, WIDTH), bias=True):
        super().__init__()
        self.bodies = nn.ModuleList([body(width) for width in widths])
        self.head = nn.Linear(widths[0], CLASSES, bias=bias)
        self.head_dist = nn.Linear(widths[1], CLASSES, bias=bias)

    def forward(self, x):
        first, second = (one(x).flatten(1) for one in self.bodies)
        return (self.head(first) + self.head_dist(second)) / 2


class Nested(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = body()
        self.head = nn.Sequential()
        self.head.add_module("flatten", nn.Flatten())
        self.head.add_module("drop", nn.Dropout(0.5))
        self.head.add_module("fc", nn.Linear(WIDTH, CLASSES))

    def forward(self, x):
        return self.head(self.stem(x))


def flat(*layers):
    return nn.Sequential(nn.Flatten(), *layers)


def fc(**more):
    return nn.Linear(WIDTH, CLASSES, **more)


def pixel(**more):
    return nn.Conv2d(WIDTH, CLASSES, 1, **more)


def images(n=4, side=8, dtype=torch.float32):
    return torch.randn(n, 3, side, side, generator=torch.Generator().manual_seed(1), dtype=dtype)


def presented(model, name=None):
    return present(model, images(2), "net", name)


ALIKE = {
    "a plain head": (lambda: Net(head=flat(fc())), "head.1"),
    "without a bias": (lambda: Net(head=flat(fc(bias=False))), "head.1"),
    "nested, after a dropout": (Nested, "head.fc"),
    "a hidden layer of as many outputs before it": (
        lambda: Net(head=flat(fc(), nn.ReLU(), nn.Linear(CLASSES, CLASSES))), "head.3"),
    "a convolution of one pixel, then flat": (lambda: Net(head=nn.Sequential(pixel(), nn.Flatten())), "head.0"),
    "a convolution without a bias": (lambda: Net(head=nn.Sequential(nn.Dropout(), pixel(bias=False), nn.Flatten())), "head.1"),
    "an object with logits": (lambda: Net(lambda scores: SimpleNamespace(logits=scores, loss=None), head=flat(fc())), "head.1"),
    "a tuple": (lambda: Net(lambda scores: (scores, scores.detach() * 2), head=flat(fc())), "head.1"),
    "declared before what it is put on": (lambda: Net(head=flat(fc()), unused=nn.Linear(3, CLASSES)), "head.1"),
    "heads that are averaged": (Pair, JOINED),
    "heads of other widths": (lambda: Pair((4, 7)), JOINED),
    "heads without biases": (lambda: Pair(bias=False), JOINED),
}  # fmt: skip


def scores(output):
    output = getattr(output, "logits", output)
    return (output[0] if isinstance(output, tuple) else output).flatten(1)


@pytest.mark.parametrize("build", [build for build, _ in ALIKE.values()], ids=ALIKE)
def test_a_network_answers_as_before_and_its_head_is_linear_on_its_features(build):
    model = build().double().eval()
    x = images(dtype=torch.float64)
    before = scores(model(x))
    found = present(model.float(), images(2), "net")
    model.double()
    head = model.get_submodule(found.head)
    features = Backbone(model, head)(x)
    assert isinstance(head, nn.Linear) and features.shape == (4, head.in_features)
    torch.testing.assert_close(model(x), before, rtol=0, atol=1e-6)  # the float32 weights are the same; means of them are rounded
    torch.testing.assert_close(linear(features, head.weight, head.bias), model(x), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("build", "name"), ALIKE.values(), ids=ALIKE)
def test_the_head_is_the_layer_whose_output_is_the_networks(build, name):
    assert presented(build()).head == name


def test_a_plain_network_is_changed_in_nothing_but_its_class():
    model = Nested().eval()
    x, names, before = images(), list(model.state_dict()), model(images())
    found = presented(model)
    assert torch.equal(model(x), before) and list(model.state_dict()) == names and not found.notes
    assert isinstance(model, Nested) and type(model).__name__ == "Nested"


def test_scores_of_one_pixel_become_scores():
    model = Net(head=pixel()).eval()
    before = model(images())
    assert before.shape == (4, CLASSES, 1, 1)
    assert presented(model).head == "head"
    torch.testing.assert_close(model(images()), before.flatten(1))


@pytest.mark.parametrize("end", [nn.Softmax(1), nn.LogSoftmax(1)])
def test_a_softmax_at_the_end_is_left_out_and_said(end):
    model = Net(end, head=flat(fc())).eval()
    probabilities = model(images())
    found = presented(model)
    assert "softmax at the end of net is left out" in found.notes[0]
    assert not torch.allclose(model(images()), probabilities)
    torch.testing.assert_close(end(model(images())), probabilities)


def test_heads_at_zero_hide_nothing():
    model = Pair()
    for head in (model.head, model.head_dist):
        nn.init.zeros_(head.weight), nn.init.zeros_(head.bias)
    assert presented(model).head == JOINED
    single = Net(head=flat(fc(), nn.ReLU(), nn.Linear(CLASSES, CLASSES)))
    for parameter in single.head.parameters():
        nn.init.zeros_(parameter)
    assert presented(single).head == "head.3"


def test_a_pair_is_found_among_other_layers_of_as_many_outputs():
    model = Pair()
    model.bodies[0].append(nn.Conv2d(WIDTH, CLASSES, 1)).append(nn.Conv2d(CLASSES, WIDTH, 1))
    found = presented(model)
    assert found.head == JOINED and "head and head_dist" in found.notes[0]


def test_a_head_may_be_named_and_a_wrong_name_is_refused():
    build = ALIKE["a hidden layer of as many outputs before it"][0]
    assert presented(build(), "head.3").head == "head.3"
    with pytest.raises(UnlearnError, match="the output of the layer 'head.1' is not the output of net"):
        presented(build(), "head.1")
    with pytest.raises(UnlearnError, match="no linear layer called 'hat.3'") as error:
        presented(build(), "hat.3")
    assert error.value.hint == "did you mean 'head.3'?"


class Scaling(nn.Linear):
    def forward(self, x):
        return super().forward(x) * 2


REFUSED = {
    "a ReLU after the head": (
        lambda: Net(head=flat(fc(), nn.ReLU())), r"not the output of a linear layer \(more is done after 'head.1', the last that"),
    "pooling after the head": (
        lambda: Net(head=nn.Sequential(nn.Upsample(scale_factor=3), pixel(), nn.AdaptiveAvgPool2d(1), nn.Flatten())),
        r"not the output of a linear layer \(more is done after 'head.1', the last that runs\)"),
    "a scaled head": (lambda: Net(lambda scores: 3 * scores, head=flat(fc())), "not the output of a linear layer"),
    "a head with a temperature": (lambda: Net(lambda scores: (3 * scores).softmax(1), head=flat(fc())), "not the output"),
    "heads that are added": (lambda: Net(lambda x: x, head=Added()), "not the output of a linear layer"),
    "the larger of two heads": (lambda: Net(head=Larger()), "not the output of a linear layer"),
    "a layer that scales what it gives": (
        lambda: Net(head=flat(Scaling(WIDTH, CLASSES))), "'head.1', is a Scaling that is not features times its weights"),
    "a normalised weight": (
        lambda: Net(head=flat(nn.utils.parametrizations.weight_norm(fc()))), "is a ParametrizedLinear that is not features times"),
    "no linear layer": (lambda: Net(head=flat()), "not the output of a linear layer: it has none"),
    "a map of scores": (lambda: nn.Conv2d(3, CLASSES, 1), r"gives numbers of the shape \(2, 5, 8, 8\) for 2 images"),
    "one number for all images": (lambda: Net(torch.sum, head=flat(fc())), r"gives numbers of the shape \(\) for 2 images"),
    "a dictionary": (lambda: Net(lambda scores: {"scores": scores}, head=flat(fc())), "gives a dict for 2 images"),
    "another size of images": (lambda: flat(nn.Linear(48, CLASSES)), "does not take images of 8 x 8 pixels and 3 channels"),
}  # fmt: skip


class Added(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two = fc(), fc()

    def forward(self, x):
        return self.one(x.flatten(1)) + self.two(x.flatten(1))


class Larger(Added):
    def forward(self, x):
        return torch.maximum(self.one(x.flatten(1)), self.two(x.flatten(1)))


@pytest.mark.parametrize(("build", "line"), REFUSED.values(), ids=REFUSED)
def test_what_has_no_linear_layer_at_its_end_is_refused_with_one_line(build, line):
    with pytest.raises(UnlearnError, match=line) as error:
        presented(build())
    assert "\n" not in error.value.problem + error.value.hint


class Learned(nn.Module):
    """What is done with the scores hangs on a weight of which a new network shows nothing."""

    def __init__(self, how, start):
        super().__init__()
        self.one, self.two, self.how = fc(), fc(), how
        self.share = nn.Parameter(start)

    def forward(self, x):
        x = x.flatten(1)
        return self.how(self.one(x), self.two(x), self.share)


LEARNED = {
    "a scale that begins at one": (lambda one, two, share: one * share, torch.ones(())),
    "a bias that begins at zero": (lambda one, two, share: one + share, torch.zeros(CLASSES)),
    "shares of heads that begin equal": (lambda one, two, share: torch.stack([one, two], -1) @ share.softmax(0), torch.zeros(2)),
    "a temperature before a softmax": (lambda one, two, share: (one / share).softmax(1), torch.ones(1)),
}  # fmt: skip


@pytest.mark.parametrize(("how", "start"), LEARNED.values(), ids=LEARNED)
def test_a_head_whose_scores_are_changed_by_learned_weights_is_refused_before_these_are_learned(how, start):
    learned = Net(head=Learned(how, start))
    tensors = copy.deepcopy(learned.state_dict())
    with pytest.raises(UnlearnError, match="not the output of a linear layer"):
        presented(learned)
    assert all(torch.equal(tensor, tensors[key]) for key, tensor in learned.state_dict().items()), "the trial left its weights"
    fixed = Net(head=Learned(lambda one, two, share: (one + two) / 2, start))
    assert presented(fixed).head == JOINED


class Raises(nn.Module):
    def forward(self, x):
        raise KeyError("depth")


def test_whatever_a_forward_raises_is_one_line_and_leaves_the_modes_as_they_were():
    model = nn.Sequential(nn.BatchNorm2d(3).eval(), Raises())
    with pytest.raises(UnlearnError, match="does not take images of 8 x 8 pixels"):
        presented(model)
    assert model.training and not model[0].training
    assert not any(module._forward_hooks for module in model.modules())


# the way back to files


@pytest.mark.parametrize("build", [build for build, _ in ALIKE.values()], ids=ALIKE)
def test_tensors_of_an_unchanged_head_come_back_bit_for_bit(build):
    theirs = {key: tensor.clone() for key, tensor in build().state_dict().items()}
    model = build()
    presented(model)
    model.load_state_dict(as_network(theirs, model))
    back = as_library(model.state_dict(), model, theirs)
    assert back.keys() == theirs.keys()
    assert all(torch.equal(back[key], theirs[key]) for key in theirs)


@pytest.mark.parametrize("build", [build for build, _ in ALIKE.values()], ids=ALIKE)
def test_the_librarys_own_forward_gives_the_logits_of_a_changed_head(build):
    library, model = build().double().eval(), build().double().eval()
    theirs = {key: tensor.clone() for key, tensor in library.state_dict().items()}
    present(model.float(), images(2), "net")
    model.double().load_state_dict(as_network(theirs, model))
    head = model.get_submodule(present(copy.deepcopy(model).float(), images(2), "net", None).head)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.add_(torch.randn_like(parameter))
    back = as_library(model.state_dict(), model, theirs)
    x = images(dtype=torch.float64)
    assert (model(x) - scores(library(x))).abs().max() > 0.1
    library.load_state_dict(back, strict=True)
    torch.testing.assert_close(scores(library(x)), model(x), rtol=0, atol=1e-12)


def test_no_two_tensors_of_a_joined_head_share_memory():
    model = Pair()
    presented(model)
    back = as_library(model.state_dict(), model)
    places = [tensor.untyped_storage().data_ptr() for tensor in back.values()]
    assert len(set(places)) == len(places)


def test_a_change_of_one_number_of_a_joined_head_is_no_unchanged_head():
    theirs, model = Pair().state_dict(), Pair()
    presented(model)
    model.load_state_dict(as_network(theirs, model))
    with torch.no_grad():
        model.joined_heads.bias[0] += 1
    back = as_library(model.state_dict(), model, theirs)
    assert torch.equal(back["head.weight"], theirs["head.weight"])
    torch.testing.assert_close(back["head.bias"] + back["head_dist.bias"],
                               theirs["head.bias"] + theirs["head_dist.bias"] + torch.eye(CLASSES)[0] * 2)  # fmt: skip


class AsksForItsVersion(nn.Linear):
    _version = 7

    def _load_from_state_dict(self, tensors, prefix, metadata, *more):
        assert metadata.get("version") == 7
        super()._load_from_state_dict(tensors, prefix, metadata, *more)


def test_tensors_of_a_file_are_taken_by_layers_that_ask_for_their_version():
    model, theirs = flat(AsksForItsVersion(3, 2)), dict(flat(AsksForItsVersion(3, 2)).state_dict())
    with pytest.raises(AssertionError):
        model.load_state_dict(theirs)
    take(model, theirs)
    assert all(torch.equal(tensor, theirs[key]) for key, tensor in model.state_dict().items())
    for wrong in ({}, theirs | {"2.weight": torch.zeros(2)}):
        with pytest.raises(RuntimeError, match="Missing key|Unexpected key"):
            take(model, wrong)


# what methods do with a network

WRAPPED = ("a convolution of one pixel, then flat", "heads of other widths", "an object with logits")


@pytest.mark.parametrize("what", WRAPPED)
def test_a_deep_copy_is_a_network_of_its_own(what):
    model = ALIKE[what][0]().eval()
    name = presented(model).head
    other = copy.deepcopy(model)
    before = model(images())
    assert torch.equal(other(images()), before)
    with torch.no_grad():
        other.get_submodule(name).weight.add_(1)
    assert torch.equal(model(images()), before) and not torch.equal(other(images()), before)
    other.load_state_dict(model.state_dict())
    assert torch.equal(other(images()), before)


@pytest.mark.parametrize("what", WRAPPED)
def test_every_weight_gets_its_gradient_through_the_presented_forward(what):
    model = ALIKE[what][0]()
    presented(model)
    model(images()).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in model.parameters())


def test_training_and_evaluation_differ_where_there_is_dropout():
    model = Nested()
    presented(model)
    assert model.training and not torch.equal(model(images()), model(images()))
    assert torch.equal(model.eval()(images()), model(images()))


def test_a_head_that_was_replaced_is_in_the_mode_of_its_network():
    model = ALIKE["a convolution of one pixel, then flat"][0]().eval()
    assert not model.get_submodule(presented(model).head).training


def test_a_pass_that_fails_leaves_nothing_for_the_next():
    model = Pair().eval()
    presented(model)
    before = model(images())
    with pytest.raises(RuntimeError):
        model(torch.randn(3, 1, 8, 8))
    assert torch.equal(model(images()), before)
    assert not model.head.reached and not model.head_dist.reached


class Helped(nn.Module):
    """A second classifier beside the head, which may run, and of which the answers may be made."""

    def __init__(self, runs=False, counts=False, classes=CLASSES):
        super().__init__()
        self.body, self.head, self.aux = body(), nn.Linear(WIDTH, CLASSES), nn.Linear(WIDTH, classes)
        self.runs, self.counts = runs, counts

    def forward(self, x):
        x = self.body(x).flatten(1)
        if self.counts:
            return self.head(x + self.aux(x).mean(1, keepdim=True))
        return (self.head(x), self.aux(x)) if self.runs or self.training else self.head(x)


@pytest.mark.parametrize("runs", [False, True])
def test_a_second_classifier_that_no_answer_is_made_of_is_told(runs):
    """What it knows of a class would stay, unseen by any metric."""
    assert presented(Helped(runs)).idle == ["aux"]
    assert presented(Helped(counts=True)).idle == []
    assert presented(Helped(runs, classes=CLASSES + 1)).idle == []


@pytest.mark.parametrize("aux", [
    nn.Conv2d(WIDTH, CLASSES, 3), nn.Embedding(CLASSES, WIDTH), nn.Parameter(torch.ones(CLASSES, WIDTH)),
    nn.Sequential(nn.Linear(WIDTH, 3), nn.Linear(3, CLASSES)),
])  # fmt: skip
def test_whatever_has_a_row_per_class_is_a_second_classifier_where_no_answer_is_made_of_it(aux):
    model = Helped()
    del model.aux
    model.aux = aux
    assert len(presented(model).idle) == 1


def test_a_layer_that_is_read_without_being_called_is_no_second_classifier():
    class Read(Helped):
        def forward(self, x):
            return self.head(linear(self.body(x).flatten(1), self.aux.weight)[:, :1].expand(-1, WIDTH))

    model = Read()
    kept = copy.deepcopy(model.state_dict())
    assert presented(model).idle == []
    assert all(torch.equal(tensor, kept[key]) for key, tensor in model.state_dict().items())
