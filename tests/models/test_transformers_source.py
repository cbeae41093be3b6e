"""A network of the transformers library is built from its configuration, and nothing else is fetched for it."""

import pytest

from unlearn_cli import models
from unlearn_cli.errors import UnlearnError
from unlearn_cli.models.building import new

pytest.importorskip("transformers")
CONFIG = {"model_type": "vit", "architectures": ["ViTForImageClassification"], "image_size": 28, "patch_size": 14,
          "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}  # fmt: skip


def test_kernels_and_code_that_a_configuration_names_are_not_taken():
    named = CONFIG | {"attn_implementation": "somebody/kernels", "auto_map": {"AutoConfig": "code.Config"}}
    model, found = new(models.find("transformers/ViTForImageClassification", config=named), 5, 3, 28, {}, 0)
    assert model.config._attn_implementation in ("eager", "sdpa")
    assert not hasattr(model.config, "auto_map") and found.head == "classifier"


def test_quantized_weights_are_refused():
    with pytest.raises(UnlearnError, match="are quantized"):
        models.find("transformers/ViTForImageClassification", config=CONFIG | {"quantization_config": {"quant_method": "x"}})


def test_a_name_alone_is_not_enough():
    with pytest.raises(UnlearnError, match="by its config.json only"):
        models.find("transformers/ViTForImageClassification")
