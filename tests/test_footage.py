"""Frames through a tiny network: in order, in one style, with the statistics of the first; and images that Python gives."""

import io
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from i2i import footage, images, items, masks, video
from i2i.errors import UserError
from i2i.images import ImageError
from i2i.method import Accepts
from i2i.translate import Translator

SMALL = {"generator": {"width": 2, "blocks": 1}, "discriminator": {"width": 2}}
NOISY = {"z": 4, "generator": {"depth": 3, "width": 2}, "discriminator": {"width": 2}}


@pytest.fixture
def opened(saved, tmp_path) -> Callable[..., Translator]:
    """`opened("pix2pix", z=4)`: a tiny untrained model, beside the folder `in`."""

    def make(method: str = "cyclegan", x: dict | None = None, y: dict | None = None, **settings: object) -> Translator:
        return Translator.open(saved(tmp_path / "model.safetensors", method, settings or SMALL, x=x, y=y), "cpu")

    (tmp_path / "in").mkdir()
    torch.manual_seed(0)
    return make


@pytest.fixture
def same(opened) -> Translator:
    """A model that returns its input."""
    translator = opened()
    translator.model.method.translate = lambda x, **_: x
    translator.model.method.accepts = lambda **_: Accepts(4, 8, 20)
    return translator


@pytest.fixture
def lossless(monkeypatch) -> None:
    """Videos are written with every value kept."""
    for suffix in (".mkv", ".avi"):
        monkeypatch.setitem(video.CODECS, suffix, "FFV1")


def noise(seed: int = 0, height: int = 32, width: int = 48) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def greys(number: int) -> list[np.ndarray]:
    return [np.full((32, 48, 3), 20 + 20 * n, np.uint8) for n in range(number)]


def read(path: Path) -> list[np.ndarray]:
    with video.opened(path) as clip:
        return list(clip.frames())


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# Videos


@pytest.mark.parametrize("batch", [1, 3, 8, None])
def test_every_frame_is_translated_and_stands_where_it_stood(batch, same, tmp_path, lossless, film) -> None:
    frames = [noise(n) for n in range(7)]
    path = film(tmp_path / "in/a.mkv", frames)
    (record,) = same.translate_folder(path, tmp_path / "out.mkv", batch=batch)
    assert (record.status, record.frames, record.width, record.height) == ("done", 7, 48, 32)
    np.testing.assert_allclose(np.array(read(tmp_path / "out.mkv"), int), frames, atol=1)


def test_images_and_videos_of_a_folder_keep_their_order_and_names(same, tmp_path, film) -> None:
    for name in ("a.mp4", "c.avi", "d.webm", "sub/e.mov"):
        (tmp_path / "in/sub").mkdir(exist_ok=True)
        film(tmp_path / "in" / name, greys(3))
    for name in ("b.png", "c.png"):
        items.images.write(tmp_path / "in" / name, items.Picture(noise()))
    records = list(same.translate_folder(tmp_path / "in", tmp_path / "out", format="jpg"))
    made = [record.output.relative_to(tmp_path / "out").as_posix() for record in records]
    assert made == ["a.mp4", "b.jpg", "c.avi", "c.jpg", "d.mp4", "sub/e.mov"]
    assert {record.status for record in records} == {"done"}
    assert [record.frames for record in records] == [3, None, 3, None, 3, 3]


def test_a_video_has_one_style_and_each_sample_is_a_video(opened, tmp_path, lossless, film) -> None:
    model = opened("pix2pix", **NOISY)
    film(tmp_path / "in/a.mkv", [noise()] * 4)
    records = list(model.translate_folder(tmp_path / "in", tmp_path / "out", samples=2, seed=5))
    assert names(tmp_path / "out") == ["a_0.mkv", "a_1.mkv"]
    assert [record.frames for record in records] == [4, 4]
    first, second = (read(tmp_path / "out" / name) for name in names(tmp_path / "out"))
    assert all(np.array_equal(first[0], frame) for frame in first)
    assert not np.array_equal(first[0], second[0])
    style = model.styles(samples=2, seed=5).of(Path("a.mkv"))[1]
    np.testing.assert_array_equal(second[0], model.translate(noise(), style=style).array)


def test_samples_that_are_there_are_left_and_the_others_made(opened, tmp_path, film) -> None:
    model = opened("pix2pix", **NOISY)
    film(tmp_path / "in/a.mkv", [noise()] * 2)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/a_0.mkv").write_text("mine")
    records = list(model.translate_folder(tmp_path / "in", tmp_path / "out", samples=2, existing="skip"))
    assert [record.status for record in records] == ["skipped", "done"]
    assert (tmp_path / "out/a_0.mkv").read_text() == "mine"


@pytest.mark.parametrize("freeze", [False, True])
@pytest.mark.parametrize("batch", [1, 3])
def test_a_clip_in_which_nothing_moves_gives_frames_that_do_not_differ(freeze, batch, opened, tmp_path, lossless, film) -> None:
    path = film(tmp_path / "in/a.mkv", [noise()] * 7)
    list(opened().translate_folder(path, tmp_path / "out.mkv", freeze_norm=freeze, batch=batch))
    frames = read(tmp_path / "out.mkv")
    assert max(np.abs(a.astype(int) - b).max() for a, b in pairwise(frames)) == 0


def test_frozen_statistics_are_those_of_the_first_frame(opened, tmp_path, lossless, film) -> None:
    model, first, second = opened(), noise(), noise(1) // 3
    path = film(tmp_path / "in/a.mkv", [first, second, second])
    list(model.translate_folder(path, tmp_path / "free.mkv"))
    list(model.translate_folder(path, tmp_path / "frozen.mkv", freeze_norm=True))
    free, frozen = read(tmp_path / "free.mkv"), read(tmp_path / "frozen.mkv")
    np.testing.assert_allclose(frozen[0].astype(int), free[0], atol=1)
    assert np.abs(frozen[1].astype(int) - free[1]).max() > 20
    np.testing.assert_allclose(frozen[1].astype(int), by_hand(model, first, second), atol=1)


def by_hand(model: Translator, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The second image through G, every norm of which takes mean and variance from what it gets for the first."""
    G, seen = model.model.method.G, []
    hooks = [norm.register_forward_pre_hook(lambda norm, inputs: seen.append(inputs[0])) for norm in norms_of(G)]
    with torch.inference_mode():
        G(tensor(first))
        for hook in hooks:
            hook.remove()
        for norm, x in zip(norms_of(G), seen, strict=True):
            variance, mean = torch.var_mean(x, (2, 3), correction=0, keepdim=True)
            norm.forward = lambda x, mean=mean, variance=variance: (x - mean) / (variance + 1e-5).sqrt()
        y = G(tensor(second))[0].permute(1, 2, 0).numpy()
    for norm in norms_of(G):
        del norm.forward
    return np.rint((y + 1) * 127.5).astype(int)


def norms_of(G: torch.nn.Module) -> list[torch.nn.Module]:
    return [layer for layer in G.modules() if "Norm" in type(layer).__name__]


def tensor(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(image).permute(2, 0, 1)[None] / 127.5 - 1


def test_norms_that_do_not_look_at_the_image_cannot_be_frozen(opened) -> None:
    model = opened("simgan", refiner={"width": 2, "blocks": 1}, discriminator={})
    with pytest.raises(UserError, match="no norm with statistics of the image"):
        model.translate(iter([noise()]), freeze_norm=True)


@pytest.mark.parametrize("ends", [lambda n: n > 3, lambda n: n > 0])
def test_a_video_that_is_stopped_leaves_nothing(ends, same, tmp_path, film) -> None:
    film(tmp_path / "in/a.mp4", greys(9))
    seen: list[int] = []
    jobs = same.plan([tmp_path / "in"], tmp_path / "out")
    records = same.translate_files(
        jobs, batch=2, stopped=lambda: ends(len(seen)), told=lambda path, done, count: seen.append(done)
    )
    assert list(records) == []
    assert names(tmp_path / "out") == []
    assert seen


def test_who_stops_to_listen_leaves_nothing_half_done(same, tmp_path, film) -> None:
    for name in "abc":
        film(tmp_path / f"in/{name}.mp4", greys(3))
    records = same.translate_folder(tmp_path / "in", tmp_path / "out")
    next(records)
    records.close()
    assert names(tmp_path / "out") == ["a.mp4"]


def test_a_video_that_fails_on_its_way_is_named_with_the_frame_and_leaves_nothing(same, tmp_path, film) -> None:
    for name in "ab":
        film(tmp_path / f"in/{name}.mp4", greys(5))
    calls: list[int] = []

    def third_is_broken(x, **_):
        calls.append(1)
        return x * (float("nan") if len(calls) == 3 else 1)

    same.model.method.translate = third_is_broken
    first, second = same.translate_folder(tmp_path / "in", tmp_path / "out", batch=1)
    assert first.error.startswith(f"cannot translate '{tmp_path / 'in/a.mp4'}': frame 3: the model's output has values")
    assert (first.status, second.status, names(tmp_path / "out")) == ("failed", "done", ["b.mp4"])


def test_an_older_output_stays_where_a_video_fails(same, tmp_path, film) -> None:
    path = film(tmp_path / "in/a.mp4", greys(5))
    (tmp_path / "out").mkdir()
    (tmp_path / "out/a.mp4").write_text("older")
    path.write_bytes(path.read_bytes()[:-50])
    (record,) = same.translate_folder(path, tmp_path / "out", existing="overwrite")
    assert (record.status, names(tmp_path / "out")) == ("failed", ["a.mp4"])
    assert (tmp_path / "out/a.mp4").read_text() == "older"


def test_a_model_of_label_maps_takes_no_video_and_one_of_16_bits_makes_none(opened, tmp_path, film) -> None:
    film(tmp_path / "in/a.mp4", greys(2))
    model = opened("pix2pix", x={"labels": True}, generator={"depth": 3, "width": 2}, discriminator={"width": 2})
    (record,) = model.translate_folder(tmp_path / "in", tmp_path / "out")
    assert "colours of a video are no labels" in record.error
    with pytest.raises(UserError, match="MP4 cannot hold the model's output"):
        opened(y={"dtype": "uint16"}).translate_folder(tmp_path / "in", tmp_path / "new")


@pytest.mark.parametrize(
    ("given", "out", "how", "words"),
    [
        ("in", "in", {}, "lies in the input folder"),
        ("in/a.mp4", "in/a.mp4", {"existing": "overwrite"}, "would replace the input"),
        ("in/a.mp4", "out.png", {}, "cannot write .png files"),
        ("in/a.mp4", "out.webm", {}, "cannot write .webm files"),
        ("in/a.mp4", "out.mov", {"format": "mp4"}, "contradict"),
        ("in/b.png", "out.mp4", {}, "cannot write .mp4 files"),
        ("in/a.mp4", "out", {"format": "png"}, "one video is no PNG"),
        ("in/a.mp4", "out", {"format": "gif"}, "one video is no GIF"),
        ("in", "out", {"format": "mp4"}, "one image is no MP4"),
        ("in", "out.mp4", {}, "is the name of one file"),
        ("in", "out", {"compare": True}, "cannot be shown beside"),
    ],
)
def test_what_cannot_become_of_a_video_is_refused_at_once(given, out, how, words, same, tmp_path, monkeypatch, film) -> None:
    monkeypatch.chdir(tmp_path)
    film(Path("in/a.mp4"), greys(2))
    items.images.write(Path("in/b.png"), items.Picture(noise()))
    with pytest.raises(UserError, match=words):
        same.translate_folder(given, out, **how)
    assert names(tmp_path / "in") == ["a.mp4", "b.png"]


def test_a_video_is_no_annotation_of_the_image_beside_it(same, tmp_path, film) -> None:
    film(tmp_path / "in/a.mp4", greys(2))
    items.images.write(tmp_path / "in/a.png", items.Picture(noise()))
    (tmp_path / "in/a.json").write_text("{}")
    same.model.method.keeps_annotations = True
    records = list(same.translate_folder(tmp_path / "in", tmp_path / "out"))
    assert names(tmp_path / "out") == ["a.json", "a.mp4", "a.png"]
    assert [record.status for record in records] == ["done", "done"]
    assert json.dumps(records[0].tree())


# What Python gives


def test_a_tensor_is_an_image_of_bytes_or_of_floats(opened) -> None:
    model, image = opened(), noise()
    expected = model.translate(image).array
    assert model.translate(torch.from_numpy(image).permute(2, 0, 1)).array.tolist() == expected.tolist()
    floats = model.translate(tensor(image)[0])
    assert floats.dtype == "uint8"
    np.testing.assert_allclose(floats.array.astype(int), expected, atol=1)
    half = model.translate(tensor(image)[0].bfloat16().requires_grad_())
    assert half.array.shape == expected.shape


def test_a_tensor_of_floats_is_not_rounded_to_the_type_of_the_model(same) -> None:
    seen = []
    same.model.method.translate = lambda x, **_: seen.append(x) or x
    same.translate(torch.full((3, 8, 8), 0.1234567))
    assert torch.allclose(seen[0], torch.tensor(0.1234567), atol=1e-6)


def test_a_grey_tensor_becomes_colour(same) -> None:
    assert same.translate(torch.zeros(1, 9, 7)).array.shape == (9, 7, 3)


def test_a_label_map_may_be_a_tensor(opened) -> None:
    model = opened("pix2pix", x={"labels": True}, generator={"depth": 3, "width": 2}, discriminator={"width": 2})
    ids = np.random.default_rng(0).integers(0, 3, (9, 12))
    expected = model.translate(ids.astype(np.uint8)).array
    np.testing.assert_array_equal(model.translate(torch.from_numpy(ids)[None]).array, expected)


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (torch.zeros(2, 3, 8, 8), r"shape \(2, 3, 8, 8\) is no image"),
        (torch.zeros(8, 8), r"float32 with the shape \(8, 8\) is no image"),
        (torch.zeros(3, 0, 8), "is no image"),
        (torch.full((3, 8, 8), 255.0), r"outside of \[-1, 1\]"),
        (torch.full((3, 8, 8), float("nan")), r"outside of \[-1, 1\]"),
        (torch.zeros(5, 8, 8), "5 channels, 3 are expected"),
        (torch.zeros(3, 8, 8, dtype=torch.int64), "int64"),
    ],
)
def test_a_tensor_that_is_no_image_is_refused_by_its_shape_type_or_values(image, words, same) -> None:
    with pytest.raises(ImageError, match=words):
        same.translate(image)


def test_an_iterable_gives_an_iterator_that_takes_a_batch_when_asked(same) -> None:
    taken: list[int] = []
    sizes: list[int] = []
    same.model.method.translate = lambda x, **_: sizes.append(len(x)) or x

    def endless() -> Iterator[np.ndarray]:
        while True:
            taken.append(1)
            yield noise(len(taken))

    results = same.translate(endless(), batch=3)
    assert not taken
    np.testing.assert_allclose(next(results).array.astype(int), noise(1), atol=1)
    assert (len(taken), sizes) == (3, [3])
    np.testing.assert_allclose([next(results).array.astype(int) for _ in range(2)], [noise(2), noise(3)], atol=1)
    assert len(taken) == 3
    next(results)
    assert (len(taken), sizes) == (6, [3, 3])


def test_an_iterable_may_mix_all_that_is_an_image(same, tmp_path) -> None:
    image = noise()
    items.images.write(tmp_path / "a.png", items.Picture(image))
    sources = [tmp_path / "a.png", str(tmp_path / "a.png"), image, torch.from_numpy(image).permute(2, 0, 1), noise(1, 9, 70)]
    results = list(same.translate(sources))
    assert [result.array.shape for result in results] == [*[(32, 48, 3)] * 4, (9, 70, 3)]
    np.testing.assert_allclose([result.array.astype(int) for result in results[:4]], [image] * 4, atol=1)
    assert list(same.translate(iter(torch.zeros(2, 3, 8, 8))))[1].height == 8
    assert list(same.translate([])) == []


def test_an_image_of_an_iterable_that_fails_is_numbered(same, tmp_path) -> None:
    results = same.translate([noise(), tmp_path / "none.png"], batch=1)
    next(results)
    with pytest.raises(ImageError, match=r"image 2: cannot read '.*none\.png'"):
        next(results)


def test_a_video_where_an_image_is_expected_is_named(same, tmp_path, film) -> None:
    with pytest.raises(ImageError, match=r"a\.mp4' is a video, and an image is expected"):
        same.translate(film(tmp_path / "in/a.mp4", greys(2)))


def test_statistics_of_the_first_image_hold_for_the_iterable(opened) -> None:
    model = opened()
    first, second = model.translate([noise(), noise(1) // 3], freeze_norm=True)
    np.testing.assert_allclose(second.array.astype(int), by_hand(model, noise(), noise(1) // 3), atol=1)
    way = model.way()
    given = items.ready(noise(), None, way, [None])
    held = replace(way, statistics=model.engine.statistics(given, way))
    np.testing.assert_array_equal(first.array, model.engine.outputs([given], held)[0].pictures(given, held)[0].array)


# Raw frames


def test_raw_frames_come_and_go_as_rgb24(same) -> None:
    frames = [noise(n, 6, 10) for n in range(5)]
    stream = io.BytesIO(b"".join(frame.tobytes() for frame in frames))
    made = b"".join(same.translate_raw(stream, (10, 6), batch=2))
    np.testing.assert_allclose(np.frombuffer(made, np.uint8).reshape(5, 6, 10, 3).astype(int), frames, atol=1)


def test_a_grey_model_makes_grey_colours_and_one_of_16_bits_no_raw_frames(opened) -> None:
    grey = opened(y={"channels": 1}, lambda_identity=0.0, **SMALL)
    made = list(grey.translate_raw(io.BytesIO(bytes(10 * 6 * 3)), (10, 6)))
    assert [len(frame) for frame in made] == [10 * 6 * 3]
    with pytest.raises(UserError, match="is no rgb24"):
        opened(y={"dtype": "uint16"}).translate_raw(io.BytesIO(), (10, 6))


def test_a_short_last_frame_is_an_error_with_its_number() -> None:
    frames = footage.raw(io.BytesIO(bytes(2 * 180 + 7)), 10, 6)
    assert [next(frames).shape for _ in range(2)] == [(6, 10, 3)] * 2
    with pytest.raises(UserError, match="frame 3 has 7 bytes, but 10x6 in rgb24 are 180"):
        next(frames)


# Masks and noise


def half(height: int = 32, width: int = 48) -> np.ndarray:
    """A mask whose right half is to change."""
    mask = np.zeros((height, width), np.uint8)
    mask[:, width // 2 :] = 255
    return mask


def inverting(translator: Translator) -> Translator:
    translator.model.method.translate = lambda x, **_: -x
    return translator


def test_one_mask_holds_for_every_frame_of_a_video(same, tmp_path, lossless, film) -> None:
    frames = [noise(seed) for seed in range(3)]
    film(tmp_path / "in/a.mkv", frames)
    images.write(tmp_path / "mask.png", images.Picture(half()[..., None]))
    records = inverting(same).translate_folder(tmp_path / "in", tmp_path / "out", mask=tmp_path / "mask.png", feather=0)
    assert [record.status for record in records] == ["done"]
    for before, after in zip(read(tmp_path / "in/a.mkv"), read(tmp_path / "out/a.mkv"), strict=True):
        np.testing.assert_array_equal(after[:, :24], before[:, :24])
        assert np.abs(after[:, 24:].astype(int) - (255 - before[:, 24:])).max() <= 1


def test_an_iterable_and_raw_frames_take_a_mask_for_all(same) -> None:
    frames, expected = [noise(seed) for seed in range(3)], half()[..., None] > 0
    made = [picture.array for picture in inverting(same).translate(iter(frames), mask=half(), feather=0)]
    raw = [*same.translate_raw(io.BytesIO(b"".join(frame.tobytes() for frame in frames)), (48, 32), mask=half(), feather=0)]
    for frame, array, data in zip(frames, made, raw, strict=True):
        assert np.abs(array.astype(int) - np.where(expected, 255 - frame, frame)).max() <= 1
        assert array.tobytes() == data


def test_a_mask_is_read_once_for_each_size_and_alpha_is_each_images_own(same, tmp_path, monkeypatch) -> None:
    read_masks, shares = [], masks.shares
    monkeypatch.setattr(masks, "shares", lambda mask, feather: read_masks.append(mask.shape) or shares(mask, feather))
    model, frames = inverting(same), [noise(seed) for seed in range(3)]
    assert len(list(model.translate(iter(frames), mask=half()))) == 3
    assert read_masks == [(32, 48)]
    with pytest.raises(ImageError, match="image 2: it has 20x10 pixels, but its mask 48x32"):
        list(model.translate([noise(), noise(height=10, width=20)], mask=half(), batch=1))
    clear = [np.dstack([frames[0], alpha]) for alpha in (half(), 255 - half())]
    left, right = model.translate(clear, mask="alpha", feather=0)
    np.testing.assert_array_equal(left.array[:, :24], frames[0][:, :24])
    np.testing.assert_array_equal(right.array[:, 24:], frames[0][:, 24:])
    assert (left.array[:, 24:] != frames[0][:, 24:]).mean() > 0.9


def test_a_tensor_of_floats_cannot_stay_outside_of_a_mask(same) -> None:
    with pytest.raises(ImageError, match="a tensor of floats has no pixels that could stay"):
        same.translate(torch.zeros(3, 32, 48), mask=half())


def test_all_frames_have_the_same_noise(opened) -> None:
    noisy = opened("pix2pix", generator={"depth": 6, "width": 2, "dropout": True}, discriminator={"width": 2})
    frame = noise(height=64, width=64)
    quiet, *_ = noisy.translate([frame])
    first, second = noisy.translate([frame, frame], noise=3)
    np.testing.assert_array_equal(first.array, second.array)
    assert (first.array != quiet.array).any()
