"""Tiny classifiers of other libraries, saved as these save them: random bodies, and a head that knows the digits a little."""

import json
from pathlib import Path

import torch

SIZE = 32
NAMES = [str(digit) for digit in range(10)]
TINY = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64, "image_size": SIZE,
        "patch_size": 8}  # fmt: skip

MODELS = {
    "ViTForImageClassification": ("vit", TINY, {"size": {"height": SIZE, "width": SIZE}}, "ViT"),
    "DeiTForImageClassificationWithTeacher": ("deit", TINY, {"size": 36, "crop_size": SIZE, "do_center_crop": True}, "DeiT"),
    "BeitForImageClassification": ("beit", TINY, {"size": 40, "crop_size": SIZE, "do_center_crop": True}, "Beit"),
    "ResNetForImageClassification": (
        "resnet", {"embedding_size": 16, "hidden_sizes": [16, 32], "depths": [1, 1], "layer_type": "basic"},
        {"size": {"shortest_edge": SIZE}, "crop_pct": 0.875}, "ConvNext",
    ),
    "ConvNextForImageClassification": (
        "convnext", {"hidden_sizes": [8, 16, 16, 32], "depths": [1, 1, 1, 1]}, {"size": SIZE, "crop_pct": 0.9}, "ConvNext",
    ),
    "SwinForImageClassification": (
        "swin", {"embed_dim": 16, "depths": [1, 1], "num_heads": [2, 2], "window_size": 4, "image_size": SIZE, "patch_size": 4},
        {"size": {"height": SIZE, "width": SIZE}, "resample": 3}, "ViT",
    ),
    "MobileNetV2ForImageClassification": (
        "mobilenet_v2", {"depth_multiplier": 0.35, "image_size": SIZE},
        {"size": {"shortest_edge": 37}, "crop_size": {"height": SIZE, "width": SIZE}, "resample": 2}, "MobileNetV2",
    ),
}  # fmt: skip
"""By class: the model's type, its settings, those of its processor, and the processor's name."""


def digits(root: Path, part: str) -> tuple[list[Path], torch.Tensor]:
    """Some of the images, and their classes."""
    paths = [path for digit in NAMES for path in sorted((root / part / digit).iterdir())[:40]]
    return paths, torch.tensor([int(path.parent.name) for path in paths])


def pictures(paths):
    from PIL import Image

    return [Image.open(path).convert("RGB") for path in paths]


@torch.no_grad()
def fit_heads(model, heads, x, y) -> None:
    """Set linear heads to the ridge regression of the classes on what reaches them; the rest stays as it was drawn."""
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None
    model.train()(x)
    reached = {}
    hooks = [head.register_forward_pre_hook(lambda module, given: reached.__setitem__(module, given[0])) for head in heads]
    model.eval()(x)
    for hook in hooks:
        hook.remove()
    wanted = torch.nn.functional.one_hot(y, heads[0].weight.shape[0]).double() * 10
    for head in heads:
        features = reached[head].flatten(1).double()
        features = torch.cat([features, torch.ones(len(features), 1).double()], 1)
        gram = features.T @ features
        solved = torch.linalg.solve(gram + 1e-4 * gram.diagonal().mean() * torch.eye(len(gram)).double(), features.T @ wanted)
        head.weight.copy_(solved[:-1].T.reshape(head.weight.shape))
        head.bias.copy_(solved[-1])


def linear_layers(model, classes):
    return [module for module in model.modules() if isinstance(module, torch.nn.Linear) and module.out_features == classes]


def save_transformers(kind: str, folder: Path, root: Path, names=NAMES, outputs: int | None = None) -> Path:
    """A tiny model of a class with its processor, in the library's own files."""
    import transformers

    model_type, settings, prepared, processor = MODELS[kind]
    outputs = outputs or len(names)
    torch.manual_seed(0)
    labels = {"id2label": dict(enumerate(names)), "label2id": {name: i for i, name in enumerate(names)}} if names else {}
    config = transformers.AutoConfig.for_model(model_type, **settings, **(labels or {"num_labels": outputs}))
    model = getattr(transformers, kind)(config)
    prepares = getattr(transformers, f"{processor}ImageProcessor")(**prepared)
    paths, y = digits(root, "train")
    x = prepares(pictures(paths), return_tensors="pt")["pixel_values"]
    fit_heads(model, linear_layers(model, outputs), x, y)
    model.save_pretrained(folder)
    prepares.save_pretrained(folder)
    return folder


def save_timm(name: str, folder: Path, root: Path, labels=NAMES, **settings) -> Path:
    """A tiny network of timm, saved by it, for images of 32 pixels out of 35."""
    import timm
    from timm.data import create_transform, resolve_data_config

    torch.manual_seed(0)
    about = {"input_size": (3, SIZE, SIZE), "crop_pct": 0.9, "interpolation": "bicubic", "mean": (0.4, 0.5, 0.6),
             "std": (0.2, 0.3, 0.25)}  # fmt: skip
    model = timm.create_model(name, pretrained=False, num_classes=10, pretrained_cfg_overlay=about, **settings)
    transform = create_transform(**resolve_data_config({}, pretrained_cfg=model.pretrained_cfg))
    paths, y = digits(root, "train")
    x = torch.stack([transform(picture) for picture in pictures(paths)])
    fit_heads(model, [model.get_classifier()], x, y)
    timm.models.save_for_hf(model, folder, model_config={"label_names": labels} if labels else None, safe_serialization=True)
    return folder


def changed(folder: Path, file: str = "config.json", **more) -> None:
    """Other values in a JSON file; None takes a key out."""
    told = json.loads((folder / file).read_text()) | more
    (folder / file).write_text(json.dumps({key: value for key, value in told.items() if value is not None}))
