import contextlib

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from i2i.domain import Domain
from i2i.method import Accepts
from i2i.methods.pix2pixhd import Pix2PixHD, Pix2PixHDConfig
from i2i.networks.cascade import Cascade
from i2i.networks.coarse_to_fine import GlobalGenerator, LocalEnhancer
from i2i.networks.layers import BatchNorm2d, InstanceNorm2d, image_norms, initialise, with_image_statistics
from i2i.networks.refiner import Refiner
from i2i.networks.resnet import ResNet
from i2i.networks.unet import UNet
from i2i.tiles import bytes_per_pixel, grid, largest_tile, tiled

NOISE = 1e-4  # of values in [-1, 1]: a hundredth of an 8-bit level
RINGS = {"halvings": 1, "blocks": 1, "enhancers": 1, "local_blocks": 1}
KINDS = {
    "resnet": (lambda norm: ResNet(3, 3, blocks=1, width=4, norm=norm), Accepts(4, 8, ResNet.halo(1))),
    "resized": (
        lambda norm: ResNet(3, 3, blocks=1, width=4, norm=norm, upsample="resize"),
        Accepts(4, 8, ResNet.halo(1, "resize")),
    ),
    "global": (
        lambda norm: GlobalGenerator(3, 3, width=2, halvings=2, blocks=1, norm=norm),
        Accepts(4, 8, GlobalGenerator.halo(2, 1)),
    ),
    "local": (lambda norm: LocalEnhancer(3, 3, width=2, norm=norm, **RINGS), Accepts(4, 8, LocalEnhancer.halo(**RINGS))),
}  # fmt: skip


@pytest.fixture(autouse=True)
def _inference():
    torch.manual_seed(0)
    with torch.inference_mode():
        yield


def picture(height: int, width: int, channels: int = 3) -> Tensor:
    """Noise, brighter on the right and darker below: every crop has statistics of its own."""
    x = 0.3 * torch.randn(1, channels, height, width)
    x[..., width // 2 :] += 0.6
    x[..., height // 3 :, :] -= torch.linspace(0, 0.5, width)
    return x


def network(kind: str, norm: str) -> nn.Module:
    """`norm` may be "running": batch norm with the statistics that it has learned."""
    result = KINDS[kind][0]("batch" if norm == "running" else norm)
    initialise(result, "kaiming")
    for layer in result.modules():
        if isinstance(layer, BatchNorm2d):
            nn.init.normal_(layer.running_mean, 0.0, 0.3)
            nn.init.uniform_(layer.running_var, 0.5, 2.0)
            nn.init.normal_(layer.bias, 0.0, 0.3)
    return (result if norm == "running" else with_image_statistics(result)).eval()


class InTiles:
    """The image that `tiled` makes of x, (1, C, H, W), and the sizes of the crops that the network saw for it."""

    def __init__(self, translate, x: Tensor, accepts: Accepts, tile: int, network: nn.Module | None = None):
        self.seen: list[tuple[int, int]] = []
        self.translate, self.x = translate, x
        height, width = x.shape[2:]
        parts = list(tiled(self._crop, (height, width), accepts, tile, network or translate))
        self.image = torch.full((1, parts[0][2].shape[1], height, width), torch.nan)
        self.covered = torch.zeros(height, width)
        for rows, columns, part in parts:
            self.image[..., rows, columns] = part
            self.covered[rows, columns] += 1

    def _crop(self, rows: slice, columns: slice) -> Tensor:
        crop = self.x[..., rows, columns]
        self.seen.append(tuple(crop.shape[2:]))
        return self.translate(crop)


def difference(a: Tensor, b: Tensor) -> float:
    return (a - b).abs().max().item()


# Exact


@pytest.mark.parametrize("norm", ["instance", "batch", "running", "none"])
@pytest.mark.parametrize("kind", KINDS)
def test_tiles_give_what_the_whole_image_gives(kind, norm) -> None:
    G, accepts, x = network(kind, norm), KINDS[kind][1], picture(76, 108)
    assert difference(InTiles(G, x, accepts, 40).image, G(x)) < NOISE


@pytest.mark.parametrize("tile", [13, 32, 54, 75])
def test_any_size_of_tile_gives_the_same(tile) -> None:
    G, accepts = network("resnet", "instance"), KINDS["resnet"][1]
    x = picture(56, 76)
    assert difference(InTiles(G, x, accepts, tile).image, G(x)) < NOISE


@pytest.mark.parametrize("size", [(8, 200), (200, 8), (12, 132), (64, 68)])
def test_any_shape_of_image_gives_the_same(size) -> None:
    G, accepts, x = network("resnet", "instance"), KINDS["resnet"][1], picture(*size)
    assert difference(InTiles(G, x, accepts, 64).image, G(x)) < NOISE


def test_a_refiner_works_in_tiles_of_odd_sizes() -> None:
    R, x = Refiner(3, width=4, blocks=2), picture(37, 53)
    initialise(R, "kaiming")
    assert difference(InTiles(R, x, Accepts(1, 1, Refiner.halo(2, 3)), 17).image, R(x)) < NOISE


def test_a_u_net_is_exact_too_where_its_halo_is_given() -> None:
    G, x = with_image_statistics(UNet(3, 3, depth=3, width=4)).eval(), picture(88, 112)
    initialise(G, "kaiming")
    assert difference(InTiles(G, x, Accepts(8, 8, 3 * 2**3 - 3), 32).image, G(x)) < NOISE


def test_a_label_map_with_instances_goes_through_its_method_in_tiles() -> None:
    """The boundaries of things look one pixel beyond the halo of the generator, which the method knows."""
    sizes = {"width": 2, "halvings": 1, "blocks": 1}
    method = Pix2PixHD(Pix2PixHDConfig(generator=sizes), Domain(labels=True, instances=True, channels=3), Domain.of(3)).eval()
    initialise(method.G, "kaiming")
    ids = torch.arange(48)[:, None] // 7 * 100 + torch.arange(64) // 9
    x = one_hot(ids % 3, 3).permute(2, 0, 1)[None].float()

    def translate(rows: slice, columns: slice) -> Tensor:
        return method.translate(x[..., rows, columns], instances=ids[None, None, rows, columns])

    whole = translate(slice(0, 48), slice(0, 64))
    for rows, columns, part in tiled(translate, (48, 64), method.accepts(), 24, method):
        assert difference(part, whole[..., rows, columns]) < NOISE


@pytest.mark.parametrize("kind", KINDS)
def test_a_halo_that_is_too_small_shows(kind) -> None:
    G, (stride, smallest, halo), x = network(kind, "none"), vars(KINDS[kind][1]).values(), picture(76, 108)
    assert difference(InTiles(G, x, Accepts(stride, smallest, halo // 2), 40).image, G(x)) > 10 * NOISE


def test_tiles_with_statistics_of_their_own_show() -> None:
    G, accepts, x = network("resnet", "instance"), KINDS["resnet"][1], picture(76, 108)
    assert difference(InTiles(G, x, accepts, 40, nn.Identity()).image, G(x)) > 0.1


def test_in_half_precision_tiles_differ_by_its_rounding_only() -> None:
    G, accepts, x = network("resnet", "instance"), KINDS["resnet"][1], picture(56, 76)
    with torch.autocast("cpu", torch.bfloat16):
        rounded, whole = InTiles(G, x, accepts, 32).image, G(x).float()
    assert difference(rounded, whole) <= 2 * difference(whole, G(x))


# What is seen and how often


def test_an_image_of_one_tile_is_translated_whole_and_once() -> None:
    G, accepts, x = network("resnet", "instance"), KINDS["resnet"][1], picture(40, 36)
    result = InTiles(G, x, accepts, 40)
    assert torch.equal(result.image, G(x))
    assert result.seen == [(40, 36)]


@pytest.mark.parametrize(("norm", "passes"), [("instance", 1 + 7), ("batch", 1 + 7), ("running", 1), ("none", 1)])
def test_there_is_one_pass_for_each_norm_that_looks_at_the_image_and_one_more(norm, passes) -> None:
    """A ResNet of one block has 7 norms: 3 before the block, 2 in it, 2 behind."""
    accepts, x = KINDS["resnet"][1], picture(64, 96)
    assert len(InTiles(network("resnet", norm), x, accepts, 32).seen) == passes * 6


def test_a_pass_computes_no_more_than_it_needs() -> None:
    G, accepts, x = network("resnet", "instance"), KINDS["resnet"][1], picture(32, 64)
    last = []
    G.model[-1].register_forward_hook(lambda *_: last.append(1))
    InTiles(G, x, accepts, 32)
    assert len(last) == 2


@pytest.mark.parametrize("halo", [20, None])
def test_the_network_never_sees_more_than_a_tile_and_its_margins(halo) -> None:
    G, x = network("resnet", "instance"), picture(160, 200)
    result = InTiles(G, x, Accepts(4, 8, halo), 48)
    margin = 20 if halo else 12
    assert max(map(max, result.seen)) == 48 + 2 * margin


@pytest.mark.parametrize("halo", [20, None])
def test_the_pieces_cover_the_image_once(halo) -> None:
    result = InTiles(network("resnet", "instance"), picture(100, 76), Accepts(4, 8, halo), 24)
    assert (result.covered == 1).all()


def test_tiles_begin_on_the_grid_of_the_stride_and_margins_end_at_the_border() -> None:
    rows = [tile.rows for tile in grid((56, 8), 24, 16)]
    assert [(row.kept.start, row.kept.stop) for row in rows] == [(0, 24), (24, 48), (48, 56)]
    assert [(row.seen.start, row.seen.stop) for row in rows] == [(0, 40), (8, 56), (32, 56)]


# Memory


def test_the_memory_of_a_pixel_is_three_times_what_the_hungriest_layer_takes_and_gives() -> None:
    G = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 5, 1), nn.MaxPool2d(2))
    x = picture(16, 16)
    assert bytes_per_pixel(lambda rows, columns: G(x[..., rows, columns]), 16, G) == 3 * 4 * (8 + 5)
    assert not any(layer._forward_hooks for layer in G.modules())


@pytest.mark.parametrize(("halo", "stride", "side"), [(20, 4, 240), (18, 4, 240), (None, 4, 292), (None, 64, 400)])
def test_the_largest_tile_fits_with_its_margins_and_the_next_does_not(halo, stride, side) -> None:
    accepts = Accepts(stride, stride, halo)
    tile = largest_tile(side**2 * 10.0, 10.0, accepts)

    def seen(tile: int) -> int:
        return max(map(max, InTiles(torch.tanh, torch.zeros(1, 1, stride, 1280), accepts, tile, nn.Identity()).seen))

    assert seen(tile) <= side < seen(tile + stride)


def test_the_largest_tile_is_one_stride_at_least() -> None:
    assert largest_tile(1.0, 10.0, Accepts(4, 8, 20)) == 4


# Statistics


@pytest.mark.parametrize("norm", [InstanceNorm2d(), with_image_statistics(BatchNorm2d(3)).eval(), nn.GroupNorm(1, 3)])
def test_a_norm_alone_has_the_statistics_of_the_whole_image_without_any_halo(norm) -> None:
    x = picture(37, 53)
    assert difference(InTiles(norm, x, Accepts(1, 1, 0), 16).image, norm(x)) < 1e-5


def test_the_network_is_left_as_it_was_even_if_the_work_is_broken_off() -> None:
    G, accepts, x = network("resnet", "instance"), KINDS["resnet"][1], picture(64, 64)

    def failing(crop: Tensor) -> Tensor:
        raise MemoryError

    with contextlib.suppress(MemoryError):
        InTiles(failing, x, accepts, 32, G)
    pieces = tiled(lambda rows, columns: G(x[..., rows, columns]), (64, 64), accepts, 32, G)
    next(pieces)
    assert not any("forward" in vars(norm) for norm in image_norms(G))
    pieces.close()
    assert not any("forward" in vars(norm) for norm in image_norms(G))


def test_no_maps_of_earlier_tiles_are_kept() -> None:
    """An exception that is kept holds on to its frames, and they to what the network had computed."""
    import gc
    import weakref

    alive: list[weakref.ref] = []

    class Watched(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            assert sum(map_() is not None for map_ in alive) <= 1
            y = x + 1
            alive.append(weakref.ref(y))
            return y

    gc.disable()
    try:
        InTiles(nn.Sequential(Watched(), InstanceNorm2d()), picture(64, 64), Accepts(1, 1, 0), 16)
    finally:
        gc.enable()
    assert len(alive) == 32


# Blended


def test_blended_tiles_pass_into_each_other_without_a_step() -> None:
    """Tiles that disagree: each is as bright as the mean of what it sees."""
    x = torch.linspace(-1, 1, 128).expand(1, 1, 96, 128).contiguous()
    x = x + torch.linspace(-1, 1, 96)[:, None]

    def mean(crop: Tensor) -> Tensor:
        return crop.mean().expand(crop.shape)

    blended = InTiles(mean, x, Accepts(4, 4, None), 32, nn.Identity()).image
    steps = max(blended.diff(dim=side).abs().max().item() for side in (-1, -2))
    apart = 2 / 3  # between the means of two tiles, less at the border; they pass into each other over 16 pixels
    assert 0 < steps <= 1.5 * apart / 16 + 1e-6
    assert difference(blended[..., 40:56, 40:56], x[..., 40:56, 40:56]) < 1


def test_blended_tiles_of_one_mind_are_the_whole_image() -> None:
    x = picture(61, 83)
    assert difference(InTiles(torch.tanh, x, Accepts(1, 1, None), 16, nn.Identity()).image, x.tanh()) < 1e-6


@pytest.mark.parametrize(("kind", "stride"), [("unet", 8), ("cascade", 4)])
def test_the_statistics_of_the_whole_image_bring_blended_tiles_nearer_to_it(kind, stride) -> None:
    x = picture(96, 128)
    G = UNet(3, 3, depth=3, width=4, norm="instance") if kind == "unet" else Cascade(3, 3, widths=[8, 8, 4])
    initialise(G, "kaiming")
    translate = G if kind == "unet" else lambda crop: G(crop)[:, 0]
    shared, own = (InTiles(translate, x, Accepts(stride, stride, None), 32, norms).image for norms in (G, nn.Identity()))
    whole = translate(x)
    assert (shared - whole).abs().mean() < (own - whole).abs().mean() / 2
