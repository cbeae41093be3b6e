import hashlib
import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import encoded, picture, put
from PIL import Image

from unlearn_cli.data.copies import FEWEST, Pairs, _coarse, digests_of, exact, find, near_copies, thumbnails_of, traits_of
from unlearn_cli.data.folder import open_folder
from unlearn_cli.data.images import Images

SIZE, CLASSES = 32, 4


def scenes(count: int, seed: int, size: int = SIZE) -> torch.Tensor:
    """(count, size, size, 3) uint8 pictures with large shapes and small detail, none like another."""
    random = np.random.default_rng(seed)
    coarse = torch.from_numpy(random.normal(0, 1, (count, 3, 6, 6)))
    fine = torch.from_numpy(random.normal(0, 0.25, (count, 3, size, size)))
    whole = torch.nn.functional.interpolate(coarse, size=(size, size), mode="bilinear", align_corners=False) + fine
    return (128 + 50 * whole).clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def in_memory(pixels: torch.Tensor, labels=None, test=None) -> Images:
    count = len(pixels)
    labels = torch.arange(count) % CLASSES if labels is None else labels
    test = torch.arange(count) % 5 == 4 if test is None else test
    paths = [f"{'test' if test[i] else 'train'}/{int(labels[i])}/{i:04d}.png" for i in range(count)]
    return Images("photos", paths, labels, test, pixels.shape[1], pixels.shape[3], pixels)


def digests(images: Images) -> np.ndarray:
    """Of files that hold nothing but these pixels and their own position: no two are the same."""
    each = (hashlib.sha256(f"{i}".encode() + image.numpy().tobytes()).digest() for i, image in enumerate(images.pixels))
    return np.frombuffer(b"".join(each), np.uint8).reshape(-1, 32).copy()


def compressed(image: np.ndarray) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "jpeg", quality=75)
    return np.asarray(Image.open(buffer))


def shrunk_and_back(image: np.ndarray) -> np.ndarray:
    small = Image.fromarray(image).resize((SIZE * 9 // 10,) * 2, Image.Resampling.BILINEAR)
    return np.asarray(small.resize((SIZE, SIZE), Image.Resampling.BILINEAR))


def brighter(image: np.ndarray) -> np.ndarray:
    return np.clip(image * 1.05 + 5, 0, 255).astype(np.uint8)


def grey(image: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(image).convert("L").convert("RGB"))


def changed(pixels: torch.Tensor, how) -> torch.Tensor:
    return torch.from_numpy(np.stack([how(image) for image in pixels.numpy()]))


@pytest.mark.parametrize("how", [compressed, shrunk_and_back, brighter, grey])
def test_a_picture_saved_anew_is_a_near_copy_of_its_source(how):
    first = scenes(200, 0)
    pairs = near_copies(thumbnails_of(torch.cat([first, changed(first[:40], how)])), np.arange(40))
    assert pairs.copies.tolist() == list(range(200, 240)) and pairs.of.tolist() == list(range(40))


def test_unrelated_pictures_are_no_copies():
    assert len(near_copies(thumbnails_of(scenes(400, 1)), np.arange(100))) == 0


def test_pictures_that_are_all_alike_are_no_copies_of_each_other_but_a_copy_among_them_is_found():
    """Close in absolute terms, as handwriting is: a fixed limit alone would call most of them copies."""
    ground = scenes(1, 2).double()
    random = np.random.default_rng(3)
    shapes = torch.nn.functional.interpolate(torch.from_numpy(random.normal(0, 5, (300, 3, 6, 6))), size=(SIZE, SIZE))
    alike = (ground + shapes.permute(0, 2, 3, 1)).clamp(0, 255).to(torch.uint8)
    thumbnails = thumbnails_of(torch.cat([alike, changed(alike[:1], brighter)]))
    distance = (1 - thumbnails[:300] @ thumbnails[:300].T + torch.eye(300)).amin(1)
    assert distance.max() < 0.02
    assert near_copies(thumbnails, np.arange(20)).copies.tolist() == [300]


def test_flat_images_are_near_copies_of_nothing():
    """Their thumbnails are noise, and noise over a plain ground is alike by chance."""
    flat = torch.full((60, SIZE, SIZE, 3), 200, dtype=torch.uint8)
    flat += (torch.arange(60) % 2)[:, None, None, None].to(torch.uint8)
    assert not thumbnails_of(flat).any()
    assert len(near_copies(thumbnails_of(torch.cat([flat, scenes(60, 4)])), np.arange(30))) == 0
    images = in_memory(torch.cat([flat, scenes(60, 4)]))
    assert len(find(images, digests(images), [0]).exact) == 29                  # but of equal pixels they are exact copies


def test_more_copies_than_neighbours_are_counted_do_not_hide_each_other():
    first = scenes(100, 5)
    many = torch.cat([first, changed(first[:1].repeat(120, 1, 1, 1), brighter)])
    many[100:, 0, 0, 0] = torch.arange(120).to(torch.uint8)                             # no two of the same pixels
    assert near_copies(thumbnails_of(many), np.array([0])).copies.tolist() == list(range(100, 220))


def test_a_folder_too_small_to_say_what_is_usual_names_certain_copies_only():
    first = scenes(FEWEST - 5, 6)
    with_copies = torch.cat([first, changed(first[:1], brighter), changed(first[1:2], shrunk_and_back)])
    assert len(with_copies) < FEWEST
    assert near_copies(thumbnails_of(with_copies), np.array([0, 1])).copies.tolist() == [len(first)]


def test_the_quick_look_never_rules_out_a_pair_that_is_close():
    thumbnails = thumbnails_of(torch.cat([scenes(150, 13), changed(scenes(150, 13), shrunk_and_back)])).double()
    quick, exact_products = _coarse(thumbnails), thumbnails @ thumbnails.T
    assert (quick @ quick.T >= exact_products - 1e-12).all()
    assert (quick @ quick.T - exact_products).median() < 0.2                            # and is no bound that says nothing


def test_the_nearest_source_is_named_where_there_are_two():
    first = scenes(200, 7)
    middle = changed(first[:1], compressed)
    pixels = torch.cat([first, middle, changed(middle, brighter)])
    pairs = near_copies(thumbnails_of(pixels), np.array([0, 200]))
    assert (pairs.copies.tolist(), pairs.of.tolist()) == ([201], [200])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 6), min_size=1, max_size=40), st.data())
def test_exact_copies_are_those_a_comparison_of_all_pairs_finds(contents, data):
    rows = np.random.default_rng(0).integers(0, 256, (7, 32), dtype=np.uint8)
    rows[1, :8] = rows[0, :8]                                             # two that begin alike are still two
    table = rows[contents]
    labels = np.array(data.draw(st.lists(st.integers(0, 2), min_size=len(contents), max_size=len(contents))))
    chosen = np.array(sorted(data.draw(st.sets(st.integers(0, len(contents) - 1)))), np.int64)
    expected = {}
    for i in set(range(len(contents))) - set(chosen.tolist()):
        same = [c for c in chosen.tolist() if contents[c] == contents[i]]
        if same:
            expected[i] = min([c for c in same if labels[c] == labels[i]] or same)
    pairs = exact(table, chosen, labels)
    assert dict(zip(pairs.copies.tolist(), pairs.of.tolist())) == expected
    assert pairs.copies.tolist() == sorted(expected)


def test_the_same_bytes_and_the_same_pixels_are_exact_copies_and_near_ones_are_not():
    first = scenes(100, 8)
    images = in_memory(torch.cat([first, first[:2], changed(first[2:3], brighter)]))
    told = digests(images)
    told[100] = told[0]                                                   # 101 has the pixels of 1 in another file
    copies = find(images, told, torch.tensor([0, 1, 2]))
    assert (copies.exact.copies.tolist(), copies.exact.of.tolist()) == ([100, 101], [0, 1])
    assert (copies.near.copies.tolist(), copies.near.of.tolist()) == ([102], [2])
    assert len(find(images, told, [0, 1, 2], near=False).near) == 0
    nothing = find(images, told, [50])
    assert len(nothing.exact) == len(nothing.near) == 0 and nothing.in_words() == []


def test_traits_that_are_known_are_not_computed_again():
    images = in_memory(scenes(40, 9))
    traits = traits_of(images)
    blind = replace(images, pixels=None)                                  # would decode files that are not there
    assert len(find(blind, digests(images), [0], traits=traits).exact) == 0


def test_copies_are_told_by_where_they_stay_each_with_an_example():
    first = scenes(100, 10)
    labels = torch.cat([torch.arange(100) % CLASSES, torch.tensor([0, 3, 0])])
    test = torch.cat([torch.zeros(100, dtype=torch.bool), torch.tensor([False, False, True])])
    images = in_memory(torch.cat([first, first[:1], first[:1], first[:1]]), labels, test)
    copies = find(images, digests(images), [0])
    assert copies.in_retain(copies.exact).copies.tolist() == [100, 101]
    assert copies.in_test(copies.exact).copies.tolist() == [102]
    assert copies.in_another_class(copies.exact).copies.tolist() == [101]
    assert copies.in_words() == [
        "2 exact copies of images to forget stay in the retain set: train/0/0100.png, of train/0/0000.png, among them",
        "1 exact copy of an image to forget is a test image: test/0/0102.png, of train/0/0000.png",
        "1 exact copy of an image to forget carries another class: train/3/0101.png, of train/0/0000.png",
    ]


def test_every_copy_stays_in_one_of_retain_and_test():
    first = scenes(60, 11)
    images = in_memory(torch.cat([first, first[:30]]))
    pairs = find(images, digests(images), range(0, 30, 2)).exact
    copies = find(images, digests(images), range(0, 30, 2))
    parts = [copies.in_retain(pairs).copies, copies.in_test(pairs).copies]
    assert np.array_equal(np.sort(np.concatenate(parts)), pairs.copies) and all(map(len, parts))


def test_the_digests_of_a_folder_are_its_files_with_and_without_the_cache(photos, own_cache, tmp_path):
    opened = open_folder(photos)
    truth = [hashlib.sha256((photos / path).read_bytes()).digest() for path in opened.images.paths]
    assert [row.tobytes() for row in digests_of(opened)] == truth
    assert [row.tobytes() for row in digests_of(opened, [3, 1])] == [truth[3], truth[1]]
    for index in own_cache.glob("index-*"):
        index.unlink()
    assert [row.tobytes() for row in digests_of(opened)] == truth
    assert digests_of(opened, []).shape == (0, 32)


def test_copies_in_a_folder_are_found_from_its_files(photos):
    source = photos / "train" / "cat" / "0.png"
    put(photos / "train" / "dog" / "copy.png", source.read_bytes())
    put(photos / "test" / "cat" / "saved-anew.bmp", encoded(Image.open(source), "bmp"))
    opened = open_folder(photos)
    paths = opened.images.paths
    copies = find(opened.images, digests_of(opened), [paths.index("train/cat/0.png")])
    assert [paths[i] for i in copies.exact.copies] == ["test/cat/saved-anew.bmp", "train/dog/copy.png"]
    put(photos / "train" / "dog" / "copy.png", picture(999))              # the control: another picture is no copy
    opened = open_folder(photos)
    copies = find(opened.images, digests_of(opened), [opened.images.paths.index("train/cat/0.png")])
    assert [opened.images.paths[i] for i in copies.exact.copies] == ["test/cat/saved-anew.bmp"]


def test_images_that_are_decoded_on_demand_have_the_same_traits(photos):
    kept, streamed = open_folder(photos), open_folder(photos, cache_limit=0)
    assert streamed.images.pixels is None
    a, b = traits_of(kept.images), traits_of(streamed.images)
    assert np.array_equal(a.pixels, b.pixels) and torch.equal(a.thumbnails, b.thumbnails)


def test_no_image_chosen_has_no_copies():
    images = in_memory(scenes(30, 12))
    copies = find(images, digests(images), [])
    assert isinstance(copies.exact, Pairs) and len(copies.exact) == len(copies.near) == 0
