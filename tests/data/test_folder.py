import os
import shutil
import warnings

import numpy as np
import pytest
import torch
from pictures import encoded, picture, put
from PIL import Image

from unlearn_cli.data import cache, decode, folder, workers
from unlearn_cli.data.folder import open_folder
from unlearn_cli.errors import UnlearnError


@pytest.fixture
def read_files(monkeypatch):
    """The names of all files that were read, with the size they were decoded to, as the test goes on."""
    seen = []

    def spy(root, names, size, channels, resize=None, read=decode.read):
        seen.extend((name, size) for name in names)
        return read(root, names, size, channels, resize)

    monkeypatch.setattr(decode, "read", spy)
    return seen


def one_level(root, classes=("ant", "bee"), count=40):
    for c, name in enumerate(classes):
        for i in range(count):
            put(root / name / f"{i:03}.png", picture(1000 * c + i, (4, 4)))
    return root


# Layouts


def test_train_and_test_folders_give_labels_in_the_order_of_class_names(photos):
    opened = open_folder(photos)
    assert opened.classes == ["cat", "dog", "owl"]
    for path, label, test in zip(opened.images.paths, opened.images.labels, opened.images.test, strict=True):
        part, name, _ = path.split("/")
        assert (opened.classes[label], test) == (name, part == "test")
    assert opened.images.paths == sorted(opened.images.paths)


def test_pixels_are_those_of_the_files(photos):
    images = open_folder(photos).images
    for i, path in enumerate(images.paths):
        assert np.array_equal(images.gather(torch.tensor([i]))[0].numpy(), np.asarray(Image.open(photos / path)))


def test_class_names_that_sort_unlike_their_paths_keep_their_own_images(tmp_path):
    for name in ("a", "a-b", "a b", "B"):
        for part in ("train", "test"):
            put(tmp_path / "d" / part / name / "sub" / "x.png", picture(1))
            put(tmp_path / "d" / part / name / "sub-1" / "x.png", picture(2))
            put(tmp_path / "d" / part / name / "sub.png", picture(3))
    opened = open_folder(tmp_path / "d")
    assert opened.classes == sorted(["a", "a-b", "a b", "B"])
    assert opened.images.paths == sorted(opened.images.paths)
    assert [opened.classes[label] for label in opened.images.labels] == [p.split("/")[1] for p in opened.images.paths]


def test_hidden_files_and_files_beside_the_splits_are_ignored(photos):
    before = open_folder(photos).fingerprint
    put(photos / "train" / "cat" / ".DS_Store", b"x")
    put(photos / ".git" / "config", b"x")
    put(photos / "LICENSE", b"x")
    put(photos / "train" / "README.md", b"x")
    assert open_folder(photos).fingerprint == before


@pytest.mark.parametrize("empty_folder", [True, False])
def test_a_class_may_have_no_test_images(photos, empty_folder):
    shutil.rmtree(photos / "test" / "dog")
    if empty_folder:
        (photos / "test" / "dog").mkdir()
    opened = open_folder(photos)
    assert opened.classes == ["cat", "dog", "owl"]
    assert opened.images.labels[opened.images.test].unique().tolist() == [0, 2]


def test_one_level_of_classes_is_split_by_a_hash_of_each_path(tmp_path):
    images = open_folder(one_level(tmp_path / "d", count=100)).images
    assert 20 <= int(images.test.sum()) <= 60


def test_an_images_split_depends_on_no_other_image(tmp_path):
    root = one_level(tmp_path / "d")
    before = {path: bool(test) for path, test in zip(*_paths_and_test(open_folder(root)), strict=True)}
    for i in range(0, 40, 3):
        (root / "bee" / f"{i:03}.png").unlink()
    one_level(root, ("wasp",))
    after = {path: bool(test) for path, test in zip(*_paths_and_test(open_folder(root)), strict=True)}
    assert all(after[path] == before[path] for path in before.keys() & after.keys())


def test_a_larger_test_fraction_only_adds_test_images(tmp_path):
    root = one_level(tmp_path / "d")
    less, more = (open_folder(root, test_fraction=fraction).images.test for fraction in (0.2, 0.5))
    assert more[less].all() and more.sum() > less.sum()


def test_a_class_called_train_is_a_class(tmp_path):
    assert open_folder(one_level(tmp_path / "d", ("car", "plane", "train"))).classes == ["car", "plane", "train"]


def _paths_and_test(opened):
    return opened.images.paths, opened.images.test


# Sizes, modes and formats


def test_grey_folders_get_one_channel_and_mixed_ones_three(tmp_path, photos):
    for part in ("train", "test"):
        put(tmp_path / "grey" / part / "a" / "1.png", picture(1, mode="L"))
        put(tmp_path / "grey" / part / "b" / "1.jpg", encoded(picture(2, mode="L"), "jpeg"))
    assert open_folder(tmp_path / "grey").images.channels == 1
    put(photos / "train" / "cat" / "grey.png", picture(1, mode="L"))
    assert open_folder(photos).images.channels == 3
    assert open_folder(photos, channels=1).images.pixels.shape == (25, 28, 28, 1)


def test_default_size_is_the_median_shorter_side_from_28_to_224(tmp_path):
    for part in ("train", "test"):
        for i, size in enumerate([(10, 70), (80, 40), (61, 60)]):
            put(tmp_path / "d" / part / "a" / f"{i}.png", picture(i, size))
        put(tmp_path / "large" / part / "a" / "1.png", picture(1, (300, 260)))
        put(tmp_path / "small" / part / "a" / "1.png", picture(1, (9, 8)))
    assert open_folder(tmp_path / "d").images.size == 40
    assert open_folder(tmp_path / "large").images.size == 224
    assert open_folder(tmp_path / "small").images.size == 28


@pytest.mark.parametrize("size", [(50, 31), (31, 50), (24, 24), (9, 200), (16, 17)])
def test_other_sizes_are_resized_by_the_shorter_side_and_cropped_in_the_centre(size):
    image, side = picture(3, size), 16
    scale = side / min(size)
    larger = image.resize((round(size[0] * scale), round(size[1] * scale)), Image.Resampling.BILINEAR)
    left, top = (larger.width - side) // 2, (larger.height - side) // 2
    wanted = np.asarray(larger.crop((left, top, left + side, top + side))).astype(int)
    got = np.frombuffer(decode.decode(encoded(image), side, 3), np.uint8).reshape(side, side, 3).astype(int)
    assert abs(got - wanted).mean() < 12  # the crop may lie half a pixel apart; an unrelated one differs by about 40


def test_resizing_squares_is_pillows_antialiased_bilinear():
    image = picture(3, (48, 48))
    wanted = image.resize((16, 16), Image.Resampling.BILINEAR).tobytes()
    assert decode.decode(encoded(image), 16, 3) == wanted


def test_a_very_long_image_is_cropped_without_growing():
    data = encoded(Image.new("L", (1, 60_000), 7))
    assert decode.decode(data, 64, 1) == bytes([7]) * 64 * 64


def test_orientation_is_applied():
    image = picture(4, (12, 12))
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = decode.decode(encoded(image, "png", exif=exif), 12, 3)
    assert turned == image.transpose(Image.Transpose.ROTATE_270).tobytes()


@pytest.mark.parametrize("kind", ["jpeg", "png", "bmp", "webp"])
def test_each_format_is_read(kind):
    settings = {"lossless": True} if kind == "webp" else {}
    data = encoded(Image.new("RGB", (8, 8), (10, 200, 90)), kind, **settings)
    got = np.frombuffer(decode.decode(data, 8, 3), np.uint8).reshape(-1, 3).astype(int)
    assert abs(got - [10, 200, 90]).max() <= 2


def test_palette_alpha_cmyk_and_sixteen_bits_are_converted():
    flat = Image.new("RGB", (8, 8), (255, 0, 0))
    palette = flat.quantize(4)
    palette.info["transparency"] = b"\x00"
    for data in (encoded(palette), encoded(flat.convert("RGBA")), encoded(flat.convert("CMYK"), "jpeg", quality=100)):
        got = np.frombuffer(decode.decode(data, 8, 3), np.uint8).reshape(-1, 3).astype(int)
        assert abs(got - [255, 0, 0]).max() <= 3
    deep = Image.fromarray(np.full((8, 8), 0x80FF, np.uint16))
    assert decode.decode(encoded(deep), 8, 1) == b"\x80" * 64


# Fingerprint and cache


def test_a_copied_folder_keeps_the_fingerprint(photos, tmp_path):
    shutil.copytree(photos, tmp_path / "copy")
    assert open_folder(tmp_path / "copy").fingerprint == open_folder(photos).fingerprint


def test_one_changed_byte_or_name_changes_the_fingerprint(photos):
    seen = {open_folder(photos).fingerprint}
    path = photos / "train" / "cat" / "0.png"
    path.write_bytes(path.read_bytes() + b"\0")
    seen.add(open_folder(photos).fingerprint)
    path.rename(path.with_name("00.png"))
    seen.add(open_folder(photos).fingerprint)
    assert len(seen) == 3


def test_touched_files_are_hashed_again_but_not_decoded(photos, read_files):
    before = open_folder(photos).fingerprint
    read_files.clear()
    os.utime(photos / "train" / "cat" / "0.png", (1, 1))
    assert open_folder(photos).fingerprint == before
    assert read_files == [("train/cat/0.png", 0)]


def test_the_second_start_reads_no_file(photos, read_files, monkeypatch):
    first = open_folder(photos)
    assert len(read_files) == 24
    read_files.clear()
    monkeypatch.setattr(decode, "look", None)
    second = open_folder(photos)
    assert not read_files
    assert torch.equal(first.images.pixels, second.images.pixels) and first.fingerprint == second.fingerprint


def test_each_image_is_read_once_at_the_first_start(photos, read_files):
    open_folder(photos)
    assert len(read_files) == len(set(read_files)) == 24


@pytest.mark.parametrize("keep_times", [True, False])
def test_a_changed_file_is_noticed(photos, keep_times):
    old = open_folder(photos)
    path = photos / "train" / "dog" / "2.png"
    stat = path.stat()
    new = encoded(picture(77))
    path.write_bytes(new[: stat.st_size].ljust(stat.st_size, b"\0"))  # noise compresses to about the same size
    put(path, new)
    if keep_times:
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    changed = open_folder(photos)
    i = torch.tensor([changed.images.paths.index("train/dog/2.png")])
    assert changed.fingerprint != old.fingerprint
    assert np.array_equal(changed.images.gather(i)[0], np.asarray(Image.open(path)))


def test_added_and_removed_files_are_noticed(photos):
    open_folder(photos)
    put(photos / "train" / "dog" / "new.png", picture(99))
    (photos / "train" / "dog" / "0.png").unlink()
    images = open_folder(photos).images
    assert "train/dog/new.png" in images.paths and "train/dog/0.png" not in images.paths
    i = images.paths.index("train/dog/new.png")
    assert np.array_equal(images.pixels[i], picture(99))


def fresh_pixels(root, monkeypatch, tmp_path):
    """What a first start, with an empty cache, makes of the folder."""
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("UNLEARN_CACHE", str(tmp_path / "another cache"))
        return open_folder(root).images.pixels.clone()


def test_files_that_are_gone_cost_no_decoding(photos, read_files, monkeypatch, tmp_path):
    open_folder(photos)
    read_files.clear()
    for name in ("train/dog", "test/dog"):
        shutil.rmtree(photos / name)
    (photos / "train" / "cat" / "1.png").unlink()
    after = open_folder(photos)
    assert not read_files and len(after.images) == 15
    assert torch.equal(after.images.pixels, fresh_pixels(photos, monkeypatch, tmp_path))


def test_only_new_and_changed_files_are_decoded(photos, read_files, monkeypatch, tmp_path):
    open_folder(photos)
    read_files.clear()
    put(photos / "train" / "dog" / "new.png", picture(99))
    put(photos / "train" / "cat" / "1.png", picture(98))
    (photos / "train" / "owl" / "0.png").rename(photos / "train" / "owl" / "renamed.png")
    after = open_folder(photos)
    assert {name for name, size in read_files if size} == {"train/dog/new.png", "train/cat/1.png"}
    assert torch.equal(after.images.pixels, fresh_pixels(photos, monkeypatch, tmp_path))


def test_pixels_of_another_size_or_in_a_damaged_file_are_not_taken_over(photos, read_files, own_cache):
    open_folder(photos)
    (photos / "train" / "dog" / "0.png").unlink()
    read_files.clear()
    open_folder(photos, size=20)
    assert len(read_files) == 23
    (path,) = own_cache.glob("pixels-*-20-3.*")
    path.write_bytes(path.read_bytes()[:5000])
    (photos / "train" / "dog" / "1.png").unlink()
    read_files.clear()
    open_folder(photos, size=20)
    assert len(read_files) == 22


def test_pixels_of_an_image_that_was_taken_away_do_not_stay_in_the_cache(photos, own_cache):
    needle = picture(500).tobytes()
    path = put(photos / "train" / "dog" / "secret.png", picture(500))
    for size in (28, 20):
        open_folder(photos, size=size)
    assert any(needle in cached.read_bytes() for cached in own_cache.iterdir())
    path.unlink()
    open_folder(photos)
    assert len(list(own_cache.glob("pixels-*"))) == 1
    assert not any(needle in cached.read_bytes() for cached in own_cache.iterdir())


def test_pixels_of_former_contents_stay_while_every_image_is_there(photos, own_cache):
    open_folder(photos)
    put(photos / "train" / "dog" / "new.png", picture(99))
    open_folder(photos)
    assert len(list(own_cache.glob("pixels-*"))) == 2


@pytest.mark.parametrize(
    "damage", [lambda b: b[:100], lambda b: b[: len(b) // 2], lambda b: b"x" * len(b), lambda b: b""]
)
@pytest.mark.parametrize("which", ["pixels-*", "index-*"])
def test_a_damaged_cache_file_is_rebuilt(photos, own_cache, damage, which):
    wanted = open_folder(photos).images.pixels.clone()
    (path,) = own_cache.glob(which)
    path.write_bytes(damage(path.read_bytes()))
    for _ in range(2):
        assert torch.equal(open_folder(photos).images.pixels, wanted)


def test_without_a_usable_cache_folder_images_stay_in_memory(photos, tmp_path, monkeypatch):
    wanted = open_folder(photos)
    put(tmp_path / "file", b"")
    monkeypatch.setenv("UNLEARN_CACHE", str(tmp_path / "file" / "below"))
    opened = open_folder(photos)
    assert torch.equal(opened.images.pixels, wanted.images.pixels) and opened.fingerprint == wanted.fingerprint


def test_a_full_disk_keeps_images_in_memory(photos, own_cache, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    monkeypatch.setattr(os, "replace", full)
    assert open_folder(photos).images.pixels.shape == (24, 28, 28, 3)
    assert not list(own_cache.iterdir())


def test_a_failed_rename_keeps_images_in_memory(photos, own_cache, monkeypatch):
    wanted = open_folder(photos).images.pixels.clone()
    shutil.rmtree(own_cache)
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError()))
    assert torch.equal(open_folder(photos).images.pixels, wanted)
    assert not list(own_cache.iterdir())


def test_pixels_are_mapped_and_changing_them_leaves_the_file_alone(photos, own_cache):
    (first, second) = (open_folder(photos).images.pixels for _ in range(2))
    first.zero_()
    assert second.any() and open_folder(photos).images.pixels.any()


def test_old_leftovers_of_killed_runs_are_swept(photos, own_cache):
    old, new = put(own_cache / "a.tmp", b"x"), put(own_cache / "b.tmp", b"x")
    os.utime(old, (1, 1))
    open_folder(photos)
    assert new.exists() and not old.exists()


def test_cache_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.delenv("UNLEARN_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache.cache_folder() == tmp_path / "unlearn"


# Streaming and workers


def test_streamed_pixels_are_the_cached_ones(photos):
    put(photos / "train" / "cat" / "wide.png", picture(5, (40, 20)))
    kept, streamed = open_folder(photos).images, open_folder(photos, cache_limit=0).images
    assert streamed.pixels is None
    batches = torch.randperm(25, generator=torch.Generator().manual_seed(0)).split(4)
    for a, b in zip(kept.stream(batches), streamed.stream(batches), strict=True):
        assert torch.equal(a, b)
    index = torch.tensor([3, 3, 0, 24])
    assert torch.equal(kept.gather(index), streamed.gather(index))
    assert streamed.gather(index[:0]).shape == (0, 28, 28, 3)
    streamed._workers.close()


def test_workers_and_this_process_decode_alike(photos, monkeypatch):
    here = open_folder(photos, size=7)
    monkeypatch.setattr(folder, "WORTH_WORKERS", 0)
    monkeypatch.setattr(folder, "CHUNK_FILES", 5)
    shutil.rmtree(os.environ["UNLEARN_CACHE"])
    told = []
    there = open_folder(photos, size=7, progress=lambda done, total: told.append((done, total)))
    assert torch.equal(here.images.pixels, there.images.pixels) and here.fingerprint == there.fingerprint
    assert told == [(5, 24), (10, 24), (15, 24), (20, 24), (24, 24)]


def test_worker_processes_answer_in_order_and_end(photos):
    images = open_folder(photos).images
    with workers.Workers(2) as two:
        assert len(two) == 2
        processes = list(two._processes)
        chunks = list(two.map((str(photos), [path], 28, 3) for path in images.paths))
        assert all(process.poll() is None for process in processes)
    assert all(process.poll() is not None for process in processes)
    assert np.array_equal(np.concatenate([chunk.pixels for chunk in chunks]), images.pixels)


def test_decoding_goes_on_here_when_workers_die(photos):
    images = open_folder(photos).images
    with workers.Workers(2) as two:
        two._processes[0].kill()
        chunks = list(two.map((str(photos), [path], 28, 3) for path in images.paths))
    assert np.array_equal(np.concatenate([chunk.pixels for chunk in chunks]), images.pixels)


def test_decoding_happens_here_when_no_worker_starts(photos, monkeypatch):
    monkeypatch.setattr(workers.sys, "executable", "/no/such/python")
    with workers.Workers(2) as none:
        (chunk,) = none.map([(str(photos), ["train/cat/0.png"], 28, 3)])
    assert not none._processes and not chunk.problems


def test_an_interrupt_ends_the_workers_and_leaves_no_file(photos, own_cache, monkeypatch):
    monkeypatch.setattr(folder, "WORTH_WORKERS", 0)
    monkeypatch.setattr(folder, "CHUNK_FILES", 1)

    def interrupt(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        open_folder(photos, progress=interrupt)
    assert not list(own_cache.iterdir())


# Errors


def refused(root, **options) -> str:
    with pytest.raises(UnlearnError) as caught:
        open_folder(root, **options)
    assert caught.value.hint
    return caught.value.problem


BAD = {
    "empty": (b"", "is empty"),
    "text": (b"not an image at all", "is not a readable"),
    "gif": (encoded(picture(1), "gif"), "is not a readable"),
    "cut jpeg": (encoded(picture(1, (64, 64)), "jpeg")[:900], "cut short"),
    "cut png": (encoded(picture(1))[:200], "cut short"),
    "cut webp": (encoded(picture(1, (64, 64)), "webp")[:500], "is"),
    "cut bmp": (encoded(picture(1), "bmp")[:200], "cut short"),
    "bomb": (encoded(Image.new("1", (10_000, 9_000))), "million pixels"),
    "large bomb": (encoded(Image.new("1", (20_000, 10_000))), "million pixels"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_file_is_named(photos, kind):
    content, wanted = BAD[kind]
    put(photos / "train" / "dog" / "bad.png", content)
    problem = refused(photos)
    assert problem.startswith("train/dog/bad.png") and wanted in problem


def test_pixel_limit_stops_before_decoding(monkeypatch):
    monkeypatch.setattr(Image.Image, "load", None)
    with pytest.raises(ValueError, match="million pixels"), warnings.catch_warnings(action="ignore"):
        decode.decode(BAD["bomb"][0], 32, 3)


def test_the_first_bad_file_is_named_and_the_others_are_counted(photos):
    for name in ("test/owl/x.png", "train/cat/x.png", "train/owl/x.png"):
        put(photos / name, b"")
    problem = refused(photos)
    assert problem.startswith("test/owl/x.png") and "2 other files" in problem


def test_a_refused_folder_leaves_nothing_in_the_cache(photos, own_cache):
    put(photos / "train" / "cat" / "x.png", b"")
    refused(photos)
    assert not list(own_cache.iterdir())


def test_a_file_that_turned_bad_is_named_at_the_next_start_and_while_streaming(photos):
    images = open_folder(photos, cache_limit=0).images
    path = put(photos / "train" / "cat" / "3.png", b"")
    with pytest.raises(UnlearnError, match=r"train/cat/3.png is empty"):
        images.gather(torch.arange(len(images)))
    images._workers.close()
    assert refused(photos).startswith("train/cat/3.png")
    path.unlink()
    assert len(open_folder(photos).images) == 23


@pytest.mark.parametrize("name", ["notes.txt", "Thumbs.db", "README", "movie.gif"])
def test_any_other_file_in_a_class_folder_is_named(photos, name):
    put(photos / "train" / "cat" / "deep" / name, b"x")
    assert f"train/cat/deep/{name} is not an image" in refused(photos)


def test_an_unreadable_file_is_named(photos):
    path = photos / "train" / "cat" / "0.png"
    path.unlink()
    path.symlink_to(photos / "nowhere.png")
    assert refused(photos).startswith("train/cat/0.png cannot be read")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the superuser may read everything")
def test_a_forbidden_file_is_named(photos):
    (photos / "train" / "cat" / "0.png").chmod(0)
    assert refused(photos).startswith("train/cat/0.png cannot be read: permission denied")


def test_a_link_back_to_a_parent_is_named(photos):
    (photos / "train" / "cat" / "loop").symlink_to(photos / "train")
    assert refused(photos).startswith("train/cat/loop is a link")


def test_roots_that_are_no_data_folder_are_named(photos, tmp_path):
    assert "does not exist" in refused(tmp_path / "nowhere")
    assert "is a file" in refused(photos / "train" / "cat" / "0.png")
    (tmp_path / "empty").mkdir()
    assert "holds no images" in refused(tmp_path / "empty")
    (tmp_path / "empty" / "train" / "cat").mkdir(parents=True)
    (tmp_path / "empty" / "test" / "cat").mkdir(parents=True)
    assert "holds no images" in refused(tmp_path / "empty")


def test_a_missing_split_or_class_is_named(photos):
    (photos / "test").rename(photos / "dev")
    assert "no 'test' folder" in refused(photos)
    (photos / "dev").rename(photos / "test")
    (photos / "train").rename(photos / "val")
    assert "no 'train' folder" in refused(photos)
    (photos / "val").rename(photos / "train")
    shutil.rmtree(photos / "train" / "dog")
    assert "test/dog is a class without training images" in refused(photos)
    (photos / "train" / "dog").mkdir()
    assert "train/dog holds no images" in refused(photos)


def test_images_outside_class_folders_are_named(photos, tmp_path):
    put(photos / "train" / "stray.png", picture(1))
    assert "train/stray.png lies outside" in refused(photos)
    put(tmp_path / "flat" / "a.png", picture(1))
    assert "a.png lies outside" in refused(tmp_path / "flat")


def test_a_folder_without_test_images_is_refused(photos):
    shutil.rmtree(photos / "test")
    (photos / "test").mkdir()
    assert "no test images" in refused(photos)


@pytest.mark.parametrize("options", [{"size": 0}, {"channels": 2}, {"test_fraction": 0.0}, {"test_fraction": 1.0}])
def test_options_out_of_range_are_refused(photos, options):
    refused(photos, **options)
