"""Batches, halves of them, and tiles: what comes out is the same."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from i2i import engine, items
from i2i.conversion import finish
from i2i.domain import Domain
from i2i.engine import Engine
from i2i.errors import OutOfResources
from i2i.images import ImageError, Picture
from i2i.networks.layers import with_running_statistics

CPU = torch.device("cpu")
SMALL_RESNET = {"generator": {"kind": "resnet", "blocks": 1, "width": 4, "norm": "instance", "dropout": False}}
SMALL_UNET = {"generator": {"kind": "unet", "depth": 3, "norm": "batch"}}


def way_of(method, x=3, y=3) -> items.Way:
    return items.Way(Domain.of(x), Domain.of(y), method.accepts(), False, False, False)


def given(way, height=70, width=90, seed=0, style=None) -> items.Given:
    values = np.random.default_rng(seed).integers(0, 256, (height, width, way.x.channels), np.uint8)
    return items.ready(Picture(values), None, way, [style])


def pictures(machine, given, way) -> list[np.ndarray]:
    (computed,) = machine.outputs([given], way)
    return [picture.array for picture in computed.pictures(given, way)]


def near(a: np.ndarray, b: np.ndarray) -> bool:
    """Equal but for rounding: at most one level, and that seldom."""
    return bool(np.abs(a.astype(int) - b).max() <= 1 and (a != b).mean() < 0.01)


@pytest.fixture
def resnet(tiny):
    return tiny("pix2pix", **SMALL_RESNET).eval()


@pytest.mark.parametrize("settings", [SMALL_RESNET, SMALL_UNET])
def test_what_comes_out_is_what_the_network_makes(settings, tiny) -> None:
    method = tiny("pix2pix", **settings).eval()
    way = way_of(method)
    one = given(way)
    with torch.no_grad():
        expected = method.G(one.padded.scale.to_float(torch.from_numpy(one.padded.values.copy()).permute(2, 0, 1)[None]))
    (computed,) = Engine(method, CPU, "fp32").outputs([one], way)
    torch.testing.assert_close(computed.outputs[0], expected[0], rtol=0, atol=1e-5)


SIZES = [*((n, n) for n in range(1, 71)), *((n, 5) for n in range(255, 261)), (1, 4096), (4096, 1), (97, 131), (7, 251), (2, 1)]
KINDS = {
    "resnet": ("cyclegan", {}),
    "resized": ("cyclegan", {"generator": {"upsample": "resize"}}),
    "unet": ("pix2pix", {}),
    "deep unet": ("pix2pix", {"generator": {"depth": 6}}),
    "latent unet": ("bicyclegan", {}),
    "global": ("pix2pixhd", {}),
    "local": ("pix2pixhd", {"generator": {"enhancers": 1}}),
    "refiner": ("simgan", {}),
    "cascade": ("crn", {}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_generator_takes_every_size_and_gives_it_back(kind, tiny) -> None:
    name, settings = KINDS[kind]
    method = tiny(name, **settings).eval()
    way, machine = way_of(method), Engine(method, CPU, "fp32")
    for height, width in SIZES:
        (made,) = pictures(machine, given(way, height, width), way)
        assert made.shape == (height, width, 3)


@pytest.mark.parametrize("settings", [SMALL_RESNET, SMALL_UNET])
def test_an_image_comes_out_the_same_whatever_shares_its_batch(settings, tiny) -> None:
    method = tiny("pix2pix", **settings).eval()
    way, machine = way_of(method), Engine(method, CPU, "fp32")
    four = [given(way, seed=n) for n in range(4)]
    for one, computed in zip(four, machine.outputs(four, way), strict=True):
        (alone,) = machine.outputs([one], way)
        torch.testing.assert_close(computed.outputs[0], alone.outputs[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("tile", [16, 32, 48])
@pytest.mark.parametrize("settings", [SMALL_RESNET, SMALL_UNET])
def test_an_image_in_tiles_is_the_image_in_one_piece(settings, tile, tiny) -> None:
    method = tiny("pix2pix", **settings).eval()
    way = way_of(method)
    one = given(way)
    (whole,), (tiles,) = (pictures(Engine(method, CPU, "fp32", t), one, way) for t in ("off", tile))
    assert whole.shape == tiles.shape == (70, 90, 3)
    assert near(whole, tiles)


def test_an_image_that_is_no_larger_than_a_tile_is_done_in_one_piece(resnet) -> None:
    way = way_of(resnet)
    (computed,) = Engine(resnet, CPU, "fp32", 128).outputs([given(way)], way)
    assert computed.note is None
    assert isinstance(computed.outputs[0], torch.Tensor)


def test_tiles_need_no_pass_for_statistics_that_are_known_from_training(tiny) -> None:
    method = tiny("pix2pix", generator={"kind": "unet", "depth": 3, "norm": "batch"})
    method.train().G(torch.randn(4, 3, 16, 16) * 2)
    with_running_statistics(method.eval().G)
    way, passes = way_of(method), []
    one = given(way)
    (whole,) = pictures(Engine(method, CPU, "fp32", "off"), one, way)
    method.G.register_forward_pre_hook(lambda *_: passes.append(1))
    (tiles,) = pictures(Engine(method, CPU, "fp32", 48), one, way)
    assert near(whole, tiles)
    assert len(passes) == 4  # each of the 2x2 tiles once


def test_a_word_says_that_there_were_tiles_and_where_they_are_not_exact(resnet, tiny) -> None:
    way = way_of(resnet)
    (computed,) = Engine(resnet, CPU, "fp32", 32).outputs([given(way)], way)
    assert computed.note == "translated in tiles of 32 pixels"
    blended = items.Way(way.x, way.y, replace(way.accepts, halo=None), False, False, False)
    (computed,) = Engine(resnet, CPU, "fp32", 32).outputs([given(blended)], blended)
    assert "blended" in computed.note


def test_memory_decides_where_nobody_says_otherwise(resnet, monkeypatch) -> None:
    way, machine = way_of(resnet), Engine(resnet, CPU, "fp32")
    one = given(way)
    monkeypatch.setattr(engine, "LARGE", 1000)
    for memory, tiled in ((10**12, False), (600_000, True)):
        monkeypatch.setattr(machine, "_memory", lambda memory=memory: memory)
        (computed,) = machine.outputs([one], way)
        assert (computed.note is not None) == tiled


def fails_above(machine, monkeypatch, pixels: int, error: Exception) -> list[int]:
    """Let the network fail for more pixels than so many at once; the sizes that were tried are kept."""
    real, tried = machine.moved, []

    def moved(arrays):
        tried.append(sum(a.shape[0] * a.shape[1] for a in arrays))
        if tried[-1] > pixels:
            raise error
        return real(arrays)

    monkeypatch.setattr(machine, "moved", moved)
    return tried


OUT = [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("DefaultCPUAllocator: not enough memory"), MemoryError()]


@pytest.mark.parametrize("error", OUT)
def test_where_memory_runs_out_halves_are_tried_and_then_tiles(error, resnet, monkeypatch) -> None:
    monkeypatch.setattr(engine, "LEAST", 16)
    way = way_of(resnet)
    four = [given(way, seed=n) for n in range(4)]
    expected = [pictures(Engine(resnet, CPU, "fp32", "off"), one, way)[0] for one in four]
    machine = Engine(resnet, CPU, "fp32")
    fails_above(machine, monkeypatch, 2 * 72 * 92, error)
    computed = machine.outputs(four, way)
    assert machine.pixels == 2 * 72 * 92
    for one, done, wanted in zip(four, computed, expected, strict=True):
        assert near(finish(one.padded, done.outputs[0], way.y).array, wanted)
    fails_above(machine, monkeypatch, 72 * 92 - 1, error)
    (done,) = machine.outputs(four[:1], way)
    assert done.note == "translated in tiles of 46 pixels, since it did not fit in memory in one piece"
    assert near(finish(four[0].padded, done.outputs[0], way.y).array, expected[0])


@pytest.mark.parametrize("tile", ["off", "auto"])
def test_what_fits_nowhere_is_an_error_that_says_what_may_help(tile, resnet, monkeypatch) -> None:
    way, machine = way_of(resnet), Engine(resnet, CPU, "fp32", tile)
    fails_above(machine, monkeypatch, 10, MemoryError("nothing left"))
    with pytest.raises(OutOfResources, match="one image of 92x72 pixels does not fit in memory") as caught:
        machine.outputs([given(way)], way)
    assert "--tile auto" in caught.value.hint


def test_another_error_is_not_taken_for_a_lack_of_memory(resnet, monkeypatch) -> None:
    way, machine = way_of(resnet), Engine(resnet, CPU, "fp32")
    fails_above(machine, monkeypatch, 10, RuntimeError("shapes do not match"))
    with pytest.raises(RuntimeError, match="shapes do not match"):
        machine.outputs([given(way)], way)


@pytest.mark.parametrize("tile", ["off", 32])
def test_values_that_are_not_finite_are_the_image_s_error_in_tiles_too(tile, resnet) -> None:
    way = way_of(resnet)
    one = given(way)
    with torch.no_grad():
        resnet.G.model[-2].bias.fill_(float("nan"))
    (computed,) = Engine(resnet, CPU, "fp32", tile).outputs([one], way)
    with pytest.raises(ImageError, match="not finite"):
        finish(one.padded, computed.outputs[0], way.y)


def test_a_style_that_is_a_map_is_never_cut_into_tiles(resnet, monkeypatch) -> None:
    way = way_of(resnet)
    monkeypatch.setattr(resnet, "samples", lambda x, styles, **_: [x] * len(styles))
    (computed,) = Engine(resnet, CPU, "fp32", 16).outputs([given(way, style=torch.zeros(1, 2, 4, 4))], way)
    assert computed.note is None


@pytest.mark.parametrize("tile", ["off", 32])
def test_statistics_of_one_image_hold_for_another_whole_or_in_tiles(tile, resnet) -> None:
    way, first, second = way_of(resnet), given(way_of(resnet), seed=0), given(way_of(resnet), seed=1)
    second.padded.values[:] = second.padded.values // 2
    frozen = replace(way, statistics=Engine(resnet, CPU, "fp32", tile).statistics(first, way))
    known = dict(frozen.statistics[0])
    machine = Engine(resnet, CPU, "fp32", tile)
    (one,), (two,) = pictures(machine, first, frozen), pictures(machine, second, frozen)
    assert near(one, pictures(machine, first, way)[0])
    assert not near(two, pictures(machine, second, way)[0])
    assert near(two, pictures(Engine(resnet, CPU, "fp32", "off"), second, frozen)[0])
    assert frozen.statistics[0] == known


def test_each_style_has_statistics_of_its_own(tiny) -> None:
    method = tiny("pix2pix", z=4, generator={"depth": 3, "norm": "instance"}).eval()
    way = way_of(method)
    one = replace(given(way), styles=method.draw_styles(2, seed=0))
    frozen = replace(way, statistics=Engine(method, CPU, "fp32").statistics(one, way))
    kept, plain = (pictures(Engine(method, CPU, "fp32"), one, each) for each in (frozen, way))
    assert all(map(near, kept, plain))
    norm = next(iter(frozen.statistics[0]))
    assert not torch.equal(frozen.statistics[0][norm].mean, frozen.statistics[1][norm].mean)
