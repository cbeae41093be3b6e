import pytest
import torch

from unlearn_cli.cases.loading import Plain, load
from unlearn_cli.cases.measuring import read
from unlearn_cli.engine.run import Options, Run


@pytest.fixture
def passes(monkeypatch):
    """How many times a backbone has read images."""
    count = []
    inner = Run.features
    monkeypatch.setattr(Run, "features", lambda *args, **more: count.append(args) or inner(*args, **more))
    return count


@pytest.fixture
def loaded(place, monkeypatch, tmp_path):
    monkeypatch.setenv("UNLEARN_CACHE", str(tmp_path / "cache"))
    return load(str(place / "model.safetensors"), Plain(), Options())


def logits_of(loaded):
    return read(loaded, Options()).logits


def test_the_logits_are_the_models_own(loaded):
    logits = logits_of(loaded)
    images = loaded.folder.images.gather(torch.arange(50))
    run = loaded.run(Options())
    from unlearn_cli.data.augment import normalise

    with run.adopted(loaded.model, loaded.head) as model, torch.no_grad():
        own = model(normalise(images, run.mean, run.std))
    torch.testing.assert_close(logits[:50], own, rtol=1e-4, atol=1e-4)


def test_a_model_is_read_once(loaded, passes):
    first = logits_of(loaded)
    assert torch.equal(logits_of(loaded), first)
    assert len(passes) == 1


def test_another_head_needs_no_pass_of_its_own_and_another_backbone_does(loaded, passes):
    logits_of(loaded)
    weight = loaded.model.get_submodule(loaded.head).weight
    with torch.no_grad():
        weight[3] = 0
    loaded.checkpoint.tensors[f"{loaded.head}.weight"] = weight.detach().clone()
    changed = logits_of(loaded)
    assert len(passes) == 1
    assert changed[:, 3].unique().numel() == 1  # the bias alone is left of the logit

    name = next(key for key in loaded.checkpoint.tensors if key.endswith("conv2.weight"))
    loaded.checkpoint.tensors[name] = loaded.checkpoint.tensors[name] + 1
    logits_of(loaded)
    assert len(passes) == 2


def test_a_damaged_cache_file_is_read_anew(loaded, passes, tmp_path):
    first = logits_of(loaded)
    for path in (tmp_path / "cache").glob("readout-*"):
        path.write_bytes(b"damaged")
    assert torch.equal(logits_of(loaded), first)
    assert len(passes) == 2
