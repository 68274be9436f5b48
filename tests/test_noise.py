"""Dropout when images are translated: what is dropped depends on seed, layer and place alone, so that images come out the same
in any batch, order and tile."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from i2i import images, noise
from i2i.errors import UserError
from i2i.images import Picture
from i2i.styles import Styles, noisy
from i2i.translate import Translator

RESNET = {"generator": {"kind": "resnet", "blocks": 2, "width": 4, "norm": "batch", "dropout": True}}
UNET = {"generator": {"kind": "unet", "depth": 6, "width": 4, "norm": "batch", "dropout": True}}


def dropped(x: Tensor, seeds: list[int], rows: slice, columns: slice, p: float = 0.5, layer: int = 0) -> Tensor:
    """What the last of several dropouts makes of x."""
    network = nn.Sequential(*[nn.Dropout(p) for _ in range(layer + 1)]).eval()
    with noise.drawn(network, seeds, rows, columns):
        return network[-1](x)


def whole(x: Tensor) -> tuple[slice, slice]:
    return slice(0, x.shape[2]), slice(0, x.shape[3])


def kept(seed: int = 1, shape: tuple[int, ...] = (1, 16, 40, 40), **how: object) -> Tensor:
    x = torch.ones(shape)
    return dropped(x, [seed] * shape[0], *whole(x), **how) > 0


# What is dropped


def test_the_numbers_are_those_of_the_published_function():
    def by_hand(x: int) -> int:
        x ^= x >> 16
        x = x * 0x7FEB352D % 2**32
        x ^= x >> 15
        x = x * 0x846CA68B % 2**32
        return x ^ x >> 16

    numbers = [0, 1, 2, 12345, 2**31, 2**32 - 1]
    assert noise.scrambled(torch.tensor(numbers)).tolist() == [by_hand(n) for n in numbers]


@pytest.mark.parametrize("p", [0.5, 0.1])
def test_a_share_of_p_is_dropped_and_the_rest_made_larger(p):
    x = torch.randn(2, 16, 40, 40, generator=torch.Generator().manual_seed(0))
    y = dropped(x, [3, 4], *whole(x), p=p)
    torch.testing.assert_close(y[y != 0], x[y != 0] / (1 - p), rtol=0, atol=0)
    assert (y == 0).float().mean().item() == pytest.approx(p, abs=0.01)
    assert dropped(x.bfloat16(), [3, 4], *whole(x)).dtype == torch.bfloat16


def test_seeds_layers_channels_rows_and_columns_have_nothing_to_do_with_each_other():
    one = kept()
    assert torch.equal(one, kept())
    for other in (kept(2), kept(2**32 - 1), kept(layer=1), one.roll(1, 1), one.roll(1, 2), one.roll(1, 3)):
        assert (one == other).float().mean().item() == pytest.approx(0.5, abs=0.02)
    for sides in ((0, 1, 2), (0, 1, 3), (0, 2, 3)):
        assert (one.float().mean(sides) - 0.5).abs().max() < 0.12


def test_each_image_of_a_batch_has_its_own():
    x = torch.ones(3, 4, 8, 8)
    together = dropped(x, [5, 6, 7], *whole(x))
    for number, seed in enumerate((5, 6, 7)):
        assert torch.equal(together[number], dropped(x[:1], [seed], *whole(x))[0])


def test_a_part_of_an_image_drops_what_the_whole_does_there():
    """A map of 12x10 cells that stand for 4x4 pixels each."""
    x = torch.randn(1, 3, 12, 10, generator=torch.Generator().manual_seed(0))
    expected = dropped(x, [9], slice(0, 48), slice(0, 40))
    part = dropped(x[..., 4:9, 2:10], [9], slice(16, 36), slice(8, 40))
    assert torch.equal(part, expected[..., 4:9, 2:10])


def test_without_seeds_nothing_is_dropped_and_afterwards_the_layers_are_as_they_were():
    layer, x = nn.Dropout(0.5).eval(), torch.randn(1, 2, 8, 8)
    with noise.drawn(layer, None, *whole(x)):
        assert torch.equal(layer(x), x)
    with pytest.raises(KeyError), noise.drawn(layer, [1], *whole(x)):
        assert not torch.equal(layer(x), x)
        raise KeyError
    assert torch.equal(layer(x), x)


# Images


@pytest.fixture
def opened(saved, tmp_path):
    """`opened(RESNET, tile=16)`: a tiny untrained model with dropout."""

    def open_one(model: dict = RESNET, method: str = "pix2pix", **how: object) -> Translator:
        strong = {"initial": {"kind": "xavier", "gain": 1}} if method != "cyclegan" else {}
        return Translator.open(saved(tmp_path / f"{method}.safetensors", method, {**model, **strong}), "cpu", "fp32", **how)

    return open_one


def picture(height: int = 32, width: int = 32, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (height, width, 3), np.uint8)


@pytest.fixture
def inputs(tmp_path) -> Path:
    """A folder of three images, a and b the same."""
    for name, seed in (("a", 0), ("b", 0), ("sub/c", 1)):
        path = tmp_path / "in" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        images.write(path, Picture(picture(seed=seed)))
    return tmp_path / "in"


def made(folder: Path) -> dict[str, np.ndarray]:
    return {str(path.relative_to(folder)): images.read(path).array for path in sorted(folder.rglob("*.png"))}


def near(a: np.ndarray, b: np.ndarray) -> bool:
    """Equal but for rounding: at most one level, and that seldom."""
    return bool(a.shape == b.shape and np.abs(a.astype(int) - b).max() <= 1 and (a != b).mean() < 0.01)


@pytest.mark.parametrize(("model", "size", "tile"), [(RESNET, (100, 84), 32), (UNET, (64, 320), 64)])
def test_tiles_have_the_noise_of_the_whole_image(opened, model, size, tile):
    array = picture(*size)
    one = opened(model, tile="off").translate(array, noise=3)
    tiles = opened(model, tile=tile).translate(array, noise=3)
    assert f"tiles of {tile} pixels" in tiles.notes[0]
    assert near(one.array, tiles.array)
    for other in (opened(model).translate(array, noise=4), opened(model).translate(array)):
        assert not near(one.array, other.array)


def test_noise_depends_on_seed_and_place_alone_whatever_the_batch_and_the_order(opened, inputs, tmp_path):
    model = opened()
    for out, options in {"one": {"batch": 1}, "many": {"batch": 3}, "seven": {"seed": 7}}.items():
        list(model.translate_folder(inputs, tmp_path / out, noise=True, **options))
    backwards = [inputs / "sub/c.png", inputs / "b.png"]
    (tmp_path / "list").write_text("\n".join(map(str, backwards)))
    list(model.translate_folder(inputs, tmp_path / "list-out", files_from=tmp_path / "list", noise=True))
    one, many, seven, listed = (made(tmp_path / out) for out in ("one", "many", "seven", "list-out"))
    assert all(near(one[name], many[name]) for name in one)
    assert all(np.array_equal(one[name], listed[name]) for name in ("b.png", "sub/c.png"))
    assert not any(near(one[name], seven[name]) for name in one)
    assert not near(one["a.png"], one["b.png"]), "each image has its own"


def test_all_images_can_have_the_same_noise_which_is_that_of_the_seed(opened, inputs, tmp_path):
    model = opened()
    list(model.translate_folder(inputs, tmp_path / "out", noise=True, seed=7, same_style=True))
    same = made(tmp_path / "out")
    np.testing.assert_array_equal(same["a.png"], same["b.png"])
    np.testing.assert_array_equal(same["a.png"], model.translate(inputs / "a.png", noise=7).array)
    piped = images.read(model.translate_bytes((inputs / "a.png").read_bytes(), styles=model.styles(noise=True, seed=7)))
    np.testing.assert_array_equal(same["a.png"], piped.array)


def test_samples_of_a_model_without_styles_differ_in_their_noise_and_missing_ones_come_out_the_same(opened, inputs, tmp_path):
    model = opened()
    ask = lambda: list(  # noqa: E731
        model.translate_folder(inputs / "a.png", tmp_path / "out", samples=3, noise=True, existing="skip", batch=1)
    )
    ask()
    before = made(tmp_path / "out")
    assert sorted(before) == ["a_0.png", "a_1.png", "a_2.png"]
    assert not near(before["a_0.png"], before["a_1.png"])
    assert not near(before["a_1.png"], before["a_2.png"])
    (tmp_path / "out/a_1.png").unlink()
    ask()
    np.testing.assert_array_equal(made(tmp_path / "out")["a_1.png"], before["a_1.png"])


def test_samples_in_tiles_have_the_noise_of_samples_in_one_piece(opened, inputs, tmp_path):
    for tile in ("off", 16):
        list(opened(tile=tile).translate_folder(inputs / "a.png", tmp_path / str(tile), samples=2, noise=True))
    one, tiles = made(tmp_path / "off"), made(tmp_path / "16")
    assert all(near(one[name], tiles[name]) for name in ("a_0.png", "a_1.png"))


def test_a_style_and_noise_go_together(opened, tmp_path):
    latent = {"z": 3, "generator": {"depth": 6, "width": 4, "dropout": True}}
    model, array = opened(latent), picture(64, 64)
    a, b = model.draw_styles(2)
    results = [model.translate(array, style=style, noise=seed).array for style in (None, a, b) for seed in (None, 1, 2)]
    assert not any(near(results[i], results[j]) for i in range(9) for j in range(i))


def test_the_frames_of_a_movie_share_their_noise():
    seeds = noisy(Styles(lambda name: [None] * 4, movie=True), 1).noise
    assert len(seeds(Path("a"))) == 4
    assert len({*seeds(Path("a"))}) == 1
    assert seeds(Path("a")) != seeds(Path("b"))


@pytest.mark.parametrize(
    ("model", "method", "options", "words"),
    [
        ({"generator": {"blocks": 1, "width": 2}}, "cyclegan", {}, "no dropout, which would be the noise"),
        ({"generator": {**RESNET["generator"], "dropout": False}}, "pix2pix", {}, "no dropout"),
        (RESNET, "pix2pix", {"samples": 2, "interpolate": 3}, "no between"),
        (RESNET, "pix2pix", {"noise": False, "seed": 2}, "has no styles"),
    ],
)
def test_what_the_model_does_not_have_is_refused_at_once(opened, inputs, tmp_path, model, method, options, words):
    with pytest.raises(UserError, match=words):
        opened(model, method).translate_folder(inputs, tmp_path / "out", **{"noise": True, **options})
    assert not (tmp_path / "out").exists()
