import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from i2i.data import scenes_paint
from i2i.data.scenes import CLASSES, Scene, colour_label, make, scene, scenes_needed
from i2i.errors import UserError

VIEWS = ("label", "instance", "edges", "photo", "winter", "simulator")
NAMES = [name for name, _ in CLASSES]
STUFF = [NAMES.index(name) for name in ("sky", "sun", "mountain", "hill", "grass", "water", "path")]


def read(path: Path) -> np.ndarray:
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    return image[..., ::-1] if image.ndim == 3 else image


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def jumps(image: np.ndarray) -> np.ndarray:
    """How much each pixel differs from its right neighbour, (H, W - 1)."""
    return np.abs(np.diff(image.astype(float), axis=1)).reshape(*image.shape[:1], image.shape[1] - 1, -1).sum(-1)


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [scene(0, index, 64) for index in range(8)]


def test_the_same_seed_and_index_give_the_same_bytes_in_any_order():
    forwards, backwards = scene(3, 5, 48), scene(3, 5, 48)
    first = {view: getattr(forwards, view).tobytes() for view in VIEWS}
    scene(3, 6, 40).photo  # noqa: B018 - another scene in between must not matter
    last = {view: getattr(backwards, view).tobytes() for view in reversed(VIEWS)}
    assert first == last


def test_the_bytes_do_not_depend_on_the_number_of_threads():
    before = cv2.getNumThreads()
    try:
        cv2.setNumThreads(1)
        alone = scene(0, 2, 96).winter
        cv2.setNumThreads(4)
        assert np.array_equal(alone, scene(0, 2, 96).winter)
    finally:
        cv2.setNumThreads(before)


def test_another_process_finds_the_same_noise():
    here = scene(0, 2, 40).winter
    scenes_paint.textures.cache_clear()
    scenes_paint._carpet.cache_clear()
    assert np.array_equal(here, scene(0, 2, 40).winter)


@pytest.mark.parametrize("view", VIEWS)
def test_another_index_and_another_seed_give_another_scene(view):
    images = [getattr(scene(seed, index, 32), view) for seed, index in ((0, 0), (0, 1), (1, 0))]
    assert not any(np.array_equal(images[a], images[b]) for a, b in ((0, 1), (0, 2), (1, 2)))


@pytest.mark.parametrize("size", [16, (16, 40), (40, 16), (33, 57), (128, 64)])
def test_every_view_has_the_asked_size_and_type(size):
    drawn, shape = scene(1, 1, size), (size, size) if isinstance(size, int) else size
    assert drawn.label.shape == drawn.instance.shape == drawn.edges.shape == shape
    assert drawn.photo.shape == drawn.winter.shape == drawn.simulator.shape == (*shape, 3)
    assert [getattr(drawn, view).dtype for view in VIEWS] == [np.uint8, np.uint16] + [np.uint8] * 4
    assert len(np.unique(drawn.label)) >= 6


def test_label_ids_are_classes_and_every_class_occurs(scenes):
    assert set(np.unique([drawn.label for drawn in scenes])) == set(range(len(CLASSES)))


def test_instance_ids_name_their_class_and_need_sixteen_bits(scenes):
    for drawn in scenes:
        stuff = np.isin(drawn.label, STUFF)
        assert np.array_equal(drawn.instance[stuff], drawn.label[stuff])
        assert np.array_equal(drawn.instance[~stuff] // 1000, drawn.label[~stuff])
        assert drawn.instance.max() > 255
    trees = [np.unique(drawn.instance[drawn.label == NAMES.index("tree")]) for drawn in scenes]
    assert max(len(ids) for ids in trees) > 2


def test_edges_are_black_exactly_where_instances_meet(scenes):
    for drawn in scenes:
        across = drawn.instance[1:, 1:] != drawn.instance[1:, :-1]
        down = drawn.instance[1:, 1:] != drawn.instance[:-1, 1:]
        assert np.array_equal(drawn.edges[1:, 1:] == 0, across | down)
        assert 0.02 < (drawn.edges == 0).mean() < 0.5


@pytest.mark.parametrize("view", ["photo", "winter", "simulator"])
def test_all_views_share_the_outlines_of_the_label_map(scenes, view):
    """Colours jump at the label map's borders, and less when the border map is moved away."""
    for drawn in scenes:
        border, jump = drawn.label[:, 1:] != drawn.label[:, :-1], jumps(getattr(drawn, view))
        moved = np.roll(border, 5, axis=1)
        assert jump[border].mean() > 1.5 * jump[moved & ~border].mean()


def test_winter_turns_the_green_meadow_white(scenes):
    for drawn in scenes:
        grass = drawn.label == NAMES.index("grass")
        summer, winter = drawn.photo[grass].astype(float), drawn.winter[grass].astype(float)
        assert summer[:, 1].mean() > summer[:, 2].mean() + 40
        assert winter.mean() > 170
        assert np.ptp(winter.mean(0)) < 40


def test_winter_differs_from_summer_much_more_than_texture_does(scenes):
    for drawn in scenes:
        season = np.abs(drawn.photo.astype(float) - drawn.winter).mean()
        texture = np.abs(drawn.photo.astype(float) - cv2.GaussianBlur(drawn.photo, (0, 0), 1.0)).mean()
        assert season > 6 * texture


def test_the_photo_has_texture_and_the_simulator_has_none(scenes):
    for drawn in scenes:
        meadow = (drawn.label == NAMES.index("grass")).astype(np.uint8)
        inside = cv2.erode(meadow, np.ones((5, 5)))[:, 1:] > 0
        assert jumps(drawn.simulator)[inside].max() == 0
        assert jumps(drawn.photo)[inside].mean() > 4


def test_palettes_differ_between_scenes(scenes):
    skies = np.array([drawn.photo[drawn.label == NAMES.index("sky")].mean(0) for drawn in scenes])
    assert skies.std(0).max() > 10


def test_a_larger_picture_shows_the_same_scene():
    small, large = scene(0, 3, 64), scene(0, 3, 128)
    assert (cv2.resize(large.label, (64, 64), interpolation=cv2.INTER_NEAREST) == small.label).mean() > 0.93
    reduced = cv2.resize(large.photo, (64, 64), interpolation=cv2.INTER_AREA)
    assert np.abs(reduced.astype(float) - small.photo).mean() < 8


def test_labels_are_read_at_pixel_centres():
    for index in range(4):
        small, large = scene(0, index, 64).label, scene(0, index, 192).label
        centres, corners = (large[k::3, k::3] == small for k in (1, 0))
        assert centres.mean() > 0.98
        assert centres.mean() > corners.mean()


def test_colour_label_paints_each_class_in_its_own_colour():
    ids = np.arange(len(CLASSES), dtype=np.uint8)[None]
    assert [tuple(colour) for colour in colour_label(ids)[0].tolist()] == [colour for _, colour in CLASSES]
    assert len({colour for _, colour in CLASSES}) == len(CLASSES)


def test_paired_puts_the_label_map_left_and_the_photo_right(tmp_path):
    make(tmp_path / "set", "paired", 12, size=16, seed=4)
    assert (len(names(tmp_path / "set/train")), len(names(tmp_path / "set/val"))) == (12, 1)
    drawn, image = scene(4, 3, 16), read(tmp_path / "set/train/scene-00003.png")
    assert np.array_equal(image[:, :16], colour_label(drawn.label))
    assert np.array_equal(image[:, 16:], drawn.photo)


def test_unpaired_sides_share_no_scene_and_the_truth_is_the_other_season(tmp_path):
    make(tmp_path, "unpaired", 3, size=16)  # an empty folder is as good as a new one
    folders = ["trainA", "trainB", "testA", "testB"]
    assert [len(names(tmp_path / folder)) for folder in folders] == [3, 3, 1, 1]
    assert len(set.union(*(names(tmp_path / folder) for folder in folders))) == 8
    for folder in folders:
        seen, hidden = ("photo", "winter") if folder.endswith("A") else ("winter", "photo")
        assert names(tmp_path / folder) == names(tmp_path / "truth" / folder)
        for name in names(tmp_path / folder):
            drawn = scene(0, int(name[6:11]), 16)
            assert np.array_equal(read(tmp_path / folder / name), getattr(drawn, seen))
            assert np.array_equal(read(tmp_path / "truth" / folder / name), getattr(drawn, hidden))


def test_labels_are_grey_index_images_with_sixteen_bit_instances(tmp_path):
    make(tmp_path / "set", "labels", 2, size=32)
    assert names(tmp_path / "set") == {f"{split}_{view}" for split in ("train", "test") for view in ("label", "inst", "img")}
    drawn = scene(0, 2, 32)
    for folder, view in (("test_label", "label"), ("test_inst", "instance"), ("test_img", "photo")):
        image, expected = read(tmp_path / "set" / folder / "scene-00002.png"), getattr(drawn, view)
        assert image.dtype == expected.dtype
        assert np.array_equal(image, expected)


def test_simulator_images_carry_boxes_and_show_other_scenes_than_the_real_ones(tmp_path):
    make(tmp_path / "set", "simreal", 2, size=32)
    assert names(tmp_path / "set/synthetic") == {f"scene-0000{k}.{kind}" for k in (0, 1) for kind in ("png", "json")}
    assert names(tmp_path / "set/real") == {"scene-00002.png", "scene-00003.png"}
    drawn = scene(0, 1, 32)
    assert np.array_equal(read(tmp_path / "set/synthetic/scene-00001.png"), drawn.simulator)
    things = json.loads((tmp_path / "set/synthetic/scene-00001.json").read_text())
    assert {thing["instance"] for thing in things} == set(drawn.instance[~np.isin(drawn.label, STUFF)].tolist())
    for thing in things:
        left, top, right, bottom = thing["box"]
        mask = drawn.instance == thing["instance"]
        assert thing["class"] == NAMES[thing["instance"] // 1000]
        assert mask[top:bottom, left:right].sum() == mask.sum()
        assert all(line.any() for line in (mask[top], mask[bottom - 1], mask[:, left], mask[:, right - 1]))


@pytest.mark.parametrize("layout", ["paired", "unpaired", "labels", "simreal"])
def test_the_same_arguments_give_the_same_folder_and_progress_counts_to_the_end(tmp_path, layout):
    done: list[int] = []
    make(tmp_path / "one", layout, 2, size=16, seed=7, on_progress=done.append)
    make(tmp_path / "deep/two", layout, 2, size=16, seed=7)
    make(tmp_path / "three", layout, 2, size=16, seed=8)
    one, two, three = (contents(tmp_path / name) for name in ("one", "deep/two", "three"))
    assert one == two
    assert one.keys() == three.keys()
    assert one != three
    assert done == list(range(1, scenes_needed(layout, 2) + 1))


@pytest.mark.parametrize(
    ("change", "word"),
    [({"count": 0}, "0 scenes"), ({"size": 15}, "15"), ({"layout": "triplets"}, "triplets"), ({"seed": -1}, "-1")],
)
def test_make_refuses_what_it_cannot_do_and_leaves_nothing(tmp_path, change, word):
    with pytest.raises(UserError, match=word):
        make(**{"folder": tmp_path / "set", "layout": "paired", "count": 1, "size": 16, **change})
    assert not list(tmp_path.iterdir())


def test_make_never_touches_a_folder_with_something_in_it(tmp_path):
    (tmp_path / "mine.txt").write_text("keep")
    for place in (tmp_path, tmp_path / "mine.txt"):
        with pytest.raises(UserError, match="not an empty folder"):
            make(place, "paired", 1, size=16)
    assert contents(tmp_path) == {"mine.txt": b"keep"}


def test_a_set_that_was_interrupted_leaves_nothing(tmp_path):
    def stop(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make(tmp_path / "set", "paired", 2, size=16, on_progress=stop)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("size", [15, (16, 8), 0])
def test_a_scene_that_is_too_small_is_refused(size):
    with pytest.raises(UserError, match="too small"):
        scene(0, 0, size)
