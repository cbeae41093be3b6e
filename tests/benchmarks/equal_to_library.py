"""Whether a network that is loaded here answers as it does in its own library: one JSON document. By hand:

    python -m tests.benchmarks.equal_to_library [torchvision/NAME timm/NAME ..] [--largest 100] [--per-family 2] > equal.json

Each network is built by its library with random weights, none of them zero and no BatchNorm statistics fresh, and kept as a
safetensors file. That file is loaded here, and what is compared is float32 logits, as largest difference over largest logit:

    tensors    ours and the library's forward on the same tensors
    images     the library's forward after its own transform of image files; a run's pass over the same files
    back       what is written here, loaded by the library with strict=True, on the same tensors

In a run, layers convolve in channels-last order and pixels are normalised by a product, so last bits may differ, and a network of
random weights may make much of them: `of_a_last_bit` is how much its library's own logits change when every number of its input
becomes the next larger one. `pixels` tells whether all bytes of the images are equal before they are normalised, at the size that
was run and at the network's own. Without names: all of torchvision, and of timm those that people have and the smallest of each
family. The size is the smallest that the library's network takes.
"""

import argparse
import ctypes
import gc
import json
import sys
import tempfile
import time
from collections import Counter, OrderedDict
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from unlearn_cli import models
from unlearn_cli.cases.networks import filled
from unlearn_cli.cases.strangers import describe
from unlearn_cli.checkpoints import store
from unlearn_cli.data.folder import Folder, open_folder
from unlearn_cli.data.splits import Split
from unlearn_cli.engine.run import Options, Run
from unlearn_cli.errors import UnlearnError
from unlearn_cli.inputs import Input, Resize, Size, sides
from unlearn_cli.models.sources import timm as timm_source
from unlearn_cli.tasks.classes import Classes

SIZES = (64, 96, 128, 192, 224, 256)
"""Tried in turn, and the network's own last."""

FAILURES = (RuntimeError, ValueError, AssertionError, TypeError, KeyError, IndexError, AttributeError, ZeroDivisionError)

MORE = (
    "resnet18", "resnet50", "resnet50_gn", "resnet50d", "seresnext26d_32x4d", "wide_resnet50_2", "resnetaa50d", "resnetv2_50",
    "resnetv2_50x1_bit", "resnetrs50", "test_resnet", "convnext_atto", "convnext_tiny", "convnextv2_atto", "test_convnext",
    "vit_tiny_patch16_224", "vit_small_patch32_224", "vit_base_patch32_clip_224", "vit_tiny_r_s16_p8_224", "test_vit",
    "vit_base_patch16_siglip_224", "vit_small_patch14_dinov2", "vit_relpos_small_patch16_224", "vit_srelpos_small_patch16_224",
    "deit_tiny_patch16_224", "deit_tiny_distilled_patch16_224", "deit_small_distilled_patch16_224", "deit3_small_patch16_224",
    "beit_base_patch16_224", "beitv2_base_patch16_224", "swin_tiny_patch4_window7_224", "swin_s3_tiny_224",
    "swinv2_tiny_window8_256", "swinv2_cr_tiny_ns_224", "mixer_s32_224", "mixer_s16_224", "resmlp_12_224", "gmlp_ti16_224",
    "gmixer_12_224", "levit_128s", "levit_conv_128s", "efficientformer_l1", "efficientformerv2_s0", "repvit_m1",
    "repvit_m1_dist_in1k", "repvit_m0_9", "crossvit_9_240", "crossvit_9_dagger_240", "crossvit_tiny_240", "pit_ti_distilled_224",
    "pit_s_224", "efficientnet_b0", "efficientnet_lite0", "tf_efficientnetv2_b0", "mobilenetv2_100", "mobilenetv3_large_100",
    "mobilenetv3_small_050", "mobilenetv4_conv_small", "mobilenetv4_hybrid_medium", "mnasnet_100", "fbnetc_100", "mixnet_s",
    "tinynet_e", "spnasnet_100", "lcnet_050", "regnetx_002", "regnety_002", "regnetz_b16", "nfnet_f0", "nf_resnet26",
    "eca_nfnet_l0", "dm_nfnet_f0", "xcit_nano_12_p16_224", "cait_xxs24_224", "coat_lite_tiny", "coatnet_0_rw_224",
    "maxvit_tiny_rw_224", "maxvit_tiny_tf_224", "poolformer_s12", "convformer_s18", "caformer_s18", "eva02_tiny_patch14_224",
    "volo_d1_224", "mvitv2_tiny", "edgenext_xx_small", "fastvit_t8", "repghostnet_050", "ghostnetv2_100", "mobileone_s0",
    "repvgg_a0", "hrnet_w18_small", "dla34", "densenet121", "inception_v3", "inception_v4", "tiny_vit_5m_224", "twins_svt_small",
    "pvt_v2_b0", "nest_tiny", "davit_tiny", "focalnet_tiny_srf", "gcvit_xxtiny", "hiera_tiny_224", "vitamin_small_224",
    "halonet26t", "botnet26t_256", "lambda_resnet26t", "lamhalobotnet50ts_256", "sebotnet33ts_256", "mobilevit_xxs",
    "mobilevitv2_050", "efficientvit_b0", "efficientvit_m0", "vgg11_bn", "squeezenet1_0",
)  # fmt: skip
"""Of timm, beside the smallest of each family: those that people have, and those whose heads or inputs are odd."""


# what the libraries do


def torchvision_network(name: str, size: int, *, helpers: bool):
    import inspect
    import typing

    from torchvision import models as library

    builder = library.get_model_builder(name)
    takes = inspect.signature(typing.get_type_hints(builder)["return"].__init__).parameters
    more = {"image_size": size} if "image_size" in takes else {"input_size": (size, size)} if "input_size" in takes else {}
    if "transform_input" in takes:
        more["transform_input"] = True  # as its published weights have it
    if "aux_logits" in takes:
        more |= {"aux_logits": helpers, "init_weights": False}
    return builder(weights=None, num_classes=10, **more)


def timm_network(name: str, size: int, *, helpers: bool):
    import timm

    about = timm.get_pretrained_cfg(name)
    sized = about is not None and about.fixed_input_size and size != about.input_size[-1]
    return timm.create_model(name, num_classes=10, **({"img_size": size} if sized else {}))


def torchvision_transform(name: str, size: int | None):
    """The transform of the default weights; at another size, in the same proportion."""
    from torchvision import models as library
    from torchvision.transforms._presets import ImageClassification

    weights = list(library.get_model_weights(name))
    if not weights:
        return None, None
    theirs = library.get_model_weights(name).DEFAULT.transforms()
    own = theirs.crop_size[0]
    to = theirs.resize_size[0] if size in (None, own) else round(theirs.resize_size[0] * size / own)
    made = ImageClassification(crop_size=size or own, resize_size=to, interpolation=theirs.interpolation)
    fed = models.find(f"torchvision/{name}").input
    return made, fed if size in (None, own) else Input(size, fed.mean, fed.std, Resize(to, fed.resize.interpolation))


def timm_transform(name: str, size: int | None):
    import timm
    from timm.data import create_transform, resolve_data_config

    about = timm.get_pretrained_cfg(name)
    if about is None:
        return None, None
    about = about if size is None else replace(about, input_size=(3, size, size))
    known = resolve_data_config({}, pretrained_cfg=about.to_dict())
    return create_transform(**known, is_training=False), timm_source.input_of(about)


BUILD = {"torchvision": torchvision_network, "timm": timm_network}
TRANSFORM = {"torchvision": torchvision_transform, "timm": timm_transform}


def own_size(library: str, name: str) -> int:
    fed = models.find(f"{library}/{name}").input
    return max(sides(fed.size)) if fed else 224


def asked(names: list[str], per_family: int, largest: float) -> list[str]:
    if names:
        return names
    import timm
    from timm.models._registry import _model_to_module
    from torchvision import models as library

    families: dict[str, list[str]] = {}
    for name in timm.list_models():
        families.setdefault(_model_to_module[name], []).append(name)
    chosen = list(MORE)
    for members in families.values():
        counts = {}
        for name in members[:: max(1, len(members) // 6)]:
            try:
                with torch.device("meta"):
                    counts[name] = sum(p.numel() for p in timm.create_model(name, num_classes=10).parameters())
            except FAILURES:
                continue
        small = sorted((count, name) for name, count in counts.items() if count < largest * 1e6)
        chosen += [name for _, name in small[:per_family]]
    theirs = library.list_models(module=library)
    return [f"torchvision/{name}" for name in theirs] + [f"timm/{name}" for name in dict.fromkeys(chosen) if timm.is_model(name)]


# what is compared


class TooLarge(Exception):
    """More parameters than asked for."""


def unhidden(model) -> None:
    """Nothing is constant, and no layer fades: what begins at zero or one would hide what it is multiplied with, or added to."""
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, one in [*model.named_parameters(), *model.named_buffers()]:
            if not one.is_floating_point() or one.numel() == 0:
                continue
            if name.endswith("running_var"):
                one.copy_(torch.rand(one.shape, generator=draw) + 0.5)
            elif name.endswith("running_mean"):
                one.copy_(0.1 * torch.randn(one.shape, generator=draw))
            elif isinstance(one, torch.nn.Parameter) and one.dim() and bool((one == one.reshape(-1)[0]).all()):
                one.add_(0.2 * torch.randn(one.shape, generator=draw))
            elif isinstance(one, torch.nn.Parameter) and one.dim() > 1 and name.endswith("weight"):
                kept = float(one.std()) * one[0].numel() ** 0.5
                one.mul_(max(1.0, 1.2 / kept))  # else what differs between images dies out on its way


def first_that_fits(library: str, name: str, largest: float):
    """The library's network at the smallest size that it takes, its logits, and the tensors that gave them."""
    own, why = own_size(library, name), None
    for size in [*(size for size in SIZES if size < own), own]:
        try:
            torch.manual_seed(0)
            model = BUILD[library](name, size, helpers=True).eval()
            if (count := sum(p.numel() for p in model.parameters()) / 1e6) > largest:
                raise TooLarge(f"{count:.0f} million parameters")
            unhidden(model)
            x = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(2))
            with torch.no_grad():
                output = model(x)
        except FAILURES as error:
            why = f"{type(error).__name__}: {error}".splitlines()[0]
            continue
        return model, size, x, output
    raise ValueError(f"its library's own forward fails ({why})")


def distance(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    return float((ours - theirs).abs().max() / theirs.abs().max())


def bytes_of(x: torch.Tensor, mean, std) -> torch.Tensor:
    mean, std = (torch.tensor(v).view(1, -1, 1, 1) for v in (mean, std))
    return ((x * std + mean) * 255).round().to(torch.uint8)


def decoded(place: Path, size: Size, resize: Resize | None) -> Folder:
    return open_folder(place, size=size, channels=3, resize=resize)


def by_library(transform, folder: Folder, chosen: torch.Tensor) -> torch.Tensor:
    paths = [Path(folder.images.root) / folder.images.paths[i] for i in chosen.tolist()]
    return torch.stack([transform(Image.open(path).convert("RGB")) for path in paths])


@torch.no_grad()
def compared(full: str, place: Path, work: Path, largest: float) -> dict:
    library, name = full.split("/")
    theirs, size, x, wanted = first_that_fits(library, name, largest)
    found = {"architecture": full, "family": family(library, name), "size": size,
             "parameters": sum(p.numel() for p in theirs.parameters())}  # fmt: skip
    if not torch.isfinite(wanted if isinstance(wanted, torch.Tensor) else wanted[0]).all():
        raise ValueError("its random weights give logits that are not finite")
    save_file({key: value.clone() for key, value in theirs.state_dict().items()}, work / "theirs.safetensors")

    architecture = models.find(full, typed=True)
    transform, fed = TRANSFORM[library](name, size)
    folder = decoded(place, size, fed.resize if fed else None)
    norm = (fed.mean, fed.std) if fed else ((0.5,) * 3, (0.5,) * 3)
    record = describe(architecture, {}, folder, norm, 0.2, work / "theirs.safetensors")
    read = store.read(str(work / "theirs.safetensors"))
    network = filled(architecture, record, read.tensors, full, None)
    ours, head = network.model, network.head
    found |= {"head": head, "notes": network.notes}
    logits = ours(x)
    found["tensors"] = {"equal": torch.equal(logits, wanted), "difference": distance(logits, wanted),
                        "varies": float((wanted - wanted.mean(0)).abs().max() / wanted.abs().max())}  # fmt: skip

    if transform is not None and fed is not None:
        chosen = torch.arange(len(folder.images))[::5]
        given = by_library(transform, folder, chosen)
        wanted_of_images = theirs(given)
        nudged = theirs(torch.nextafter(given, torch.tensor(torch.inf)))
        split = Split("some", folder.images, chosen, Classes(len(folder.classes)))
        run = Run(Options(device="cpu", precision="float32"), record.mean, record.std)
        same = torch.equal(ours(given), wanted_of_images)
        with run.adopted(ours, head) as adopted:
            passed = run.logits(adopted, split)
        whole, whole_fed = TRANSFORM[library](name, None)
        large = decoded(place, whole_fed.size, whole_fed.resize)
        found["images"] = {
            "equal_after_the_same_transform": same, "difference": distance(passed, wanted_of_images),
            "of_a_last_bit": distance(nudged, wanted_of_images),
            "pixels": torch.equal(bytes_of(given, *norm), folder.images.gather(chosen).permute(0, 3, 1, 2)),
            "pixels_at_own_size": torch.equal(bytes_of(by_library(whole, large, chosen), *norm),
                                              large.images.gather(chosen).permute(0, 3, 1, 2)),
        }  # fmt: skip

    store.write(str(work / "ours.safetensors"), network.as_file(ours.state_dict()), record, force=True)
    del ours, network, theirs
    torch.manual_seed(3)
    again = BUILD[library](name, size, helpers=False).eval()
    back = OrderedDict(load_file(work / "ours.safetensors"))
    back._metadata = again.state_dict()._metadata  # MNASNet asks for its version, which safetensors do not keep
    again.load_state_dict(back, strict=True)
    logits = again(x)
    found["back"] = {"equal": torch.equal(logits, wanted), "difference": distance(logits, wanted)}
    return found


def family(library: str, name: str) -> str:
    if library == "timm":
        from timm.models._registry import _model_to_module

        return f"timm {_model_to_module[name]}"
    from torchvision import models as library

    return f"torchvision {library.get_model_builder(name).__module__.rpartition('.')[2]}"


def pictures(place: Path) -> None:
    """Ten classes with a picture each, of every proportion: smooth colours under noise, as JPEG and PNG."""
    draw = np.random.default_rng(0)
    shapes = [(375, 500), (500, 375), (333, 333), (64, 48), (300, 200), (260, 1000), (224, 224), (1, 7), (231, 229), (700, 690)]
    for number, (height, width) in enumerate(shapes):
        small = Image.fromarray(draw.integers(0, 256, (5, 7, 3), dtype=np.uint8)).resize((width, height), Image.Resampling.BICUBIC)
        noisy = (np.asarray(small).astype(int) + draw.integers(-20, 21, (height, width, 3))).clip(0, 255).astype(np.uint8)
        for part in ("train", "test"):
            (place / part / f"class {number}").mkdir(parents=True)
            Image.fromarray(noisy).save(place / part / f"class {number}" / ("one.png" if number % 2 else "one.jpg"))


def summed_up(rows: list[dict]) -> dict:
    done = [row for row in rows if "tensors" in row]
    with_images = [row for row in done if "images" in row]
    steady = [row for row in with_images if row["images"].get("of_a_last_bit", 0) < 1e-5]
    summary = {
        "compared": Counter(row["architecture"].split("/")[0] for row in done),
        "families": Counter(row["family"] for row in done),
        "bit-equal on tensors": sum(row["tensors"]["equal"] for row in done),
        "largest difference on tensors": max((row["tensors"]["difference"] for row in done), default=None),
        "bit-equal after writing back": sum(row["back"]["equal"] for row in done),
        "largest difference after writing back": max((row["back"]["difference"] for row in done), default=None),
        "least variation between images": min((row["tensors"]["varies"] for row in done), default=None),
        "with images": len(with_images),
        "bit-equal on images after the same transform": sum(row["images"]["equal_after_the_same_transform"] for row in with_images),
        "the same pixels": sum(row["images"]["pixels"] and row["images"]["pixels_at_own_size"] for row in with_images),
        "largest difference of a run on images": max((row["images"]["difference"] for row in steady), default=None),
        "networks that a last bit of the input changes by more than 1e-5": {
            row["architecture"]: [row["images"]["difference"], row["images"]["of_a_last_bit"]]
            for row in with_images if row not in steady
        },
        "not bit-equal": [row["architecture"] for row in done if not (row["tensors"]["equal"] and row["back"]["equal"])],
    }
    for reason in ("refused", "failed", "left out"):
        summary[reason] = {row["architecture"]: row[reason] for row in rows if reason in row}
    return summary


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*")
    parser.add_argument("--largest", type=float, default=100, help="million parameters, beyond which a network is left out")
    parser.add_argument("--per-family", type=int, default=2, help="of each of timm's families, the smallest")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        place, work = Path(folder) / "pictures", Path(folder)
        pictures(place)
        for name in asked(options.names, options.per_family, options.largest):
            begin = time.perf_counter()
            row = {"architecture": name}
            try:
                row = compared(name, place, work, options.largest)
            except UnlearnError as error:
                row["refused"] = f"{error.problem} {error.hint}"
            except TooLarge as error:
                row["left out"] = str(error)
            except FAILURES as error:
                row["failed"] = f"{type(error).__name__}: {error}".splitlines()[0]
            row["seconds"] = round(time.perf_counter() - begin, 1)
            rows.append(row)
            print(json.dumps(row), file=sys.stderr, flush=True)
            gc.collect()
            if sys.platform == "linux":
                ctypes.CDLL("libc.so.6").malloc_trim(0)
    versions = {name: __import__(name).__version__ for name in ("torch", "torchvision", "timm")}
    print(json.dumps({"versions": versions, "summary": summed_up(rows), "architectures": rows}, indent=1))


if __name__ == "__main__":
    main()
