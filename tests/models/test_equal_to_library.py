"""A dozen networks that answer here as in their own library, bit for bit, and go back to it; `tests/benchmarks` has the rest."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from unlearn_cli import models
from unlearn_cli.cases.networks import filled
from unlearn_cli.checkpoints import store
from unlearn_cli.checkpoints.record import Record
from unlearn_cli.errors import UnlearnError
from unlearn_cli.models.building import new

SMALL_VIT = {"depth": 2, "embed_dim": 32, "num_heads": 2, "img_size": 64}

TORCHVISION = {
    "resnet18": 64,
    "mobilenet_v3_small": 64,
    "shufflenet_v2_x0_5": 64,
    "mnasnet0_5": 64,
    "regnet_x_400mf": 64,
    "efficientnet_b0": 64,
    "googlenet": 64,
}
"""The size in pixels at which each is compared."""

TIMM = {
    "test_convnext": {},
    "test_byobnet": {},
    "vit_tiny_patch16_224": SMALL_VIT,
    "deit_tiny_distilled_patch16_224": SMALL_VIT,
    "swin_tiny_patch4_window7_224": {"img_size": 64, "embed_dim": 24},
    "gmlp_ti16_224": {"img_size": 64},
    "test_nfnet": {},
}
"""The arguments that make each small."""

NOT_BIT_EQUAL = ("deit_tiny_distilled_patch16_224",)
"""Two heads count as one here: the sum over both is taken at once, in another order."""


def unhidden(model):
    """No weight at zero or one, no statistics of a new network, no layer that fades: they would hide what is under them."""
    with torch.no_grad():
        for name, one in [*model.named_parameters(), *model.named_buffers()]:
            if name.endswith("running_var"):
                one.uniform_(0.5, 1.5)
            elif name.endswith("weight") and one.dim() > 1:
                one.normal_(std=1.7 * one[0].numel() ** -0.5)
            elif (isinstance(one, torch.nn.Parameter) or name.endswith("running_mean")) and one.dim():
                one.add_(0.1 * torch.randn_like(one))
    return model.eval()


def loaded(name, size, settings, path):
    architecture = models.find(name)
    record = Record(architecture=name, architecture_settings=architecture.parsed(settings, size), classes=list("abcdefg"),
                    size=size, channels=3, mean=[0.5] * 3, std=[0.5] * 3)  # fmt: skip
    return filled(architecture, record, store.read(str(path)).tensors, path.name, None), record


def compared(name, size, settings, build, folder, exact):
    """The library's file is loaded here and answers as there; what is written here is loaded there, strictly."""
    theirs = unhidden(build())
    x = torch.randn(2, 3, size, size)
    save_file({key: tensor.clone() for key, tensor in theirs.state_dict().items()}, folder / "theirs.safetensors")
    network, record = loaded(name, size, settings, folder / "theirs.safetensors")
    with torch.no_grad():
        wanted, logits = theirs(x), network.model(x)
    largest = wanted.abs().max()
    assert (wanted[0] - wanted[1]).abs().max() > 1e-3 * largest, "the control: it tells images apart"
    assert torch.equal(logits, wanted) if exact else (logits - wanted).abs().max() < 1e-6 * largest

    store.write(str(folder / "ours.safetensors"), network.as_file(network.model.state_dict()), record)
    again = build(helpers=False)
    state, written = again.state_dict(), load_file(folder / "ours.safetensors")
    assert state.keys() == written.keys()
    state.update(written)  # keeps the versions of layers, for which MNASNet asks and which safetensors do not keep
    again.load_state_dict(state, strict=True)
    assert torch.equal(again.eval()(x), wanted)
    return network


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


@pytest.mark.parametrize("name", TORCHVISION)
def test_torchvisions_networks_answer_as_in_torchvision(name, tmp_path):
    library = pytest.importorskip("torchvision").models
    special = {"transform_input": True, "init_weights": False} if name == "googlenet" else {}

    def build(helpers=True):
        return library.get_model(name, weights=None, num_classes=7, **special | ({"aux_logits": helpers} if special else {}))

    compared(f"torchvision/{name}", TORCHVISION[name], {}, build, tmp_path, True)


@pytest.mark.parametrize("name", TIMM)
def test_timms_networks_answer_as_in_timm(name, tmp_path):
    timm = pytest.importorskip("timm")

    def build(helpers=True):
        return timm.create_model(name, num_classes=7, **TIMM[name])

    network = compared(f"timm/{name}", 64, TIMM[name], build, tmp_path, name not in NOT_BIT_EQUAL)
    assert bool(network.notes) == (name in NOT_BIT_EQUAL)


def test_a_transformer_is_built_for_the_size_of_its_images():
    pytest.importorskip("timm")
    sizes = {}
    for size in (32, 64):
        model = models.find("timm/vit_tiny_patch16_224").construct(7, 3, size, {"depth": 1})
        sizes[size] = model.pos_embed.shape[1]
    assert sizes == {32: 5, 64: 17}
    dynamic = models.find("timm/vit_tiny_patch16_224").construct(7, 3, 64, {"depth": 1, "dynamic_img_size": True})
    assert dynamic.pos_embed.shape[1] == 197, "its table of positions is stretched to the images, and kept as it is"
    assert dynamic(torch.randn(2, 3, 64, 64)).shape == (2, 7)


@pytest.mark.parametrize(("name", "size", "line"), [
    ("torchvision/vit_b_16", 100, "torchvision cannot build vit_b_16 so .Input shape indivisible by patch size"),
    ("torchvision/maxvit_t", 100, "torchvision cannot build maxvit_t so "),
    ("torchvision/vit_b_16", (32, 64), "torchvision/vit_b_16 takes square images only"),
    ("torchvision/alexnet", 32, "torchvision/alexnet does not take images of 32 x 32 pixels"),
    ("timm/test_vit", 8, "timm/test_vit does not take images of 8 x 8 pixels"),
    ("timm/crossvit_9_240", 64, "timm/crossvit_9_240 does not take images of 64 x 64 pixels"),
])  # fmt: skip
def test_a_size_that_a_network_cannot_take_is_one_line(name, size, line):
    pytest.importorskip(name.partition("/")[0])
    with pytest.raises(UnlearnError, match=line) as error:
        new(models.find(name), 7, 3, size, {}, 0)
    assert "\n" not in error.value.problem + error.value.hint


@pytest.mark.parametrize("name", ["checkpoint_path", "pretrained", "pretrained_cfg", "cache_dir"])
def test_no_setting_makes_timm_read_weights(name, tmp_path):
    pytest.importorskip("timm")
    with pytest.raises(UnlearnError, match=f"{name} is no setting of timm/test_vit here"):
        models.find("timm/test_vit").construct(7, 3, 160, {name: str(tmp_path / "pickled.pth")})


TINY = {"model_type": "vit", "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32,
        "image_size": 32, "patch_size": 8}  # fmt: skip


@pytest.mark.parametrize("name", ["TimmWrapperForImageClassification", "AutoModelForImageClassification"])
def test_no_record_names_a_class_that_builds_whatever_its_configuration_names(name, tmp_path):
    """A file of weights by its place, some of them pickled, or a name on a hub."""
    pytest.importorskip("transformers")
    pickled = {"model_type": "timm_wrapper", "architecture": "test_vit", "model_args": {"checkpoint_path": str(tmp_path / "x")}}
    with pytest.raises(UnlearnError, match="it builds what its config.json names"):
        models.find(f"transformers/{name}", config=pickled)
    assert models.find("transformers/ViTForImageClassification", config=TINY)


@pytest.mark.parametrize("key", ["attn_implementation", "_attn_implementation", "experts_implementation"])
def test_no_configuration_has_code_fetched(key):
    pytest.importorskip("transformers")
    asked = TINY | {key: "somebody/kernel"}
    model = new(models.find("transformers/ViTForImageClassification", config=asked), 7, 3, 32, {}, 0)[0]
    assert "somebody/kernel" not in str(model.config)


@pytest.mark.parametrize("name", ["weights", "progress"])
def test_no_setting_makes_torchvision_read_weights(name, monkeypatch):
    pytest.importorskip("torchvision")
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", lambda *_, **__: pytest.fail("it was to be loaded"))
    with pytest.raises(UnlearnError, match=f"{name} is no setting of torchvision/resnet18 here"):
        models.find("torchvision/resnet18").construct(7, 3, 64, {name: "DEFAULT"})


@pytest.mark.parametrize("name", ["squeezenet1_1"])
def test_what_torchvision_has_after_the_last_layer_is_a_reason_to_refuse(name, tmp_path):
    library = pytest.importorskip("torchvision").models
    save_file(library.get_model(name, weights=None, num_classes=7).state_dict(), tmp_path / "theirs.safetensors")
    with pytest.raises(UnlearnError, match="not the output of a linear layer .more is done after 'classifier.1'"):
        loaded(f"torchvision/{name}", 64, {}, tmp_path / "theirs.safetensors")


def test_an_input_that_timm_cuts_in_a_way_of_its_own_is_not_guessed():
    timm = pytest.importorskip("timm")
    from unlearn_cli.models.sources.timm import input_of

    def fed(**changes):
        return input_of(timm.models.PretrainedCfg(**{"input_size": (3, 64, 64), "crop_pct": 0.5, "crop_mode": "center"} | changes))

    assert fed().resize.to == 128                                                       # a control
    assert fed(crop_mode="squash", input_size=(3, 64, 32)).resize.to == (128, 64)
    assert fed(input_size=(3, 64, 32)) is None and fed(crop_mode="border") is None
