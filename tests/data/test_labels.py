import json

import numpy as np
import pytest
from PIL import Image

from i2i.config import DataSettings, Layer, parse
from i2i.data import labels
from i2i.data.check import check
from i2i.data.folders import find
from i2i.data.labels import read_palette
from i2i.data.settle import settle_labels
from i2i.domain import Domain
from i2i.errors import UserError
from i2i.images import ImageError
from i2i.models import configure, method_class
from i2i.prepare import prepare

COLOURS = np.array([[0, 0, 0], [255, 0, 0], [0, 0, 255]], np.uint8)


def map_of(*ids: int, dtype: str = "uint8", size: tuple[int, int] = (16, 16)) -> np.ndarray:
    """(height, width) of stripes with these ids."""
    return np.array(ids, dtype)[np.arange(size[1]) * len(ids) // size[1]][None].repeat(size[0], 0)


@pytest.fixture
def city(tmp_path):
    """`city({"0": map, ...}, "test")`: a folder of label maps with a photo for each, as pix2pixHD's."""

    def draw(maps, split="train", suffix=".png"):
        for name, ids in maps.items():
            photo = np.random.default_rng(ord(name[0])).integers(0, 255, (*ids.shape[:2], 3), np.uint8)
            for folder, array, end in (("label", ids, suffix), ("img", photo, ".jpg")):
                (tmp_path / f"{split}_{folder}").mkdir(exist_ok=True)
                Image.fromarray(array).save(tmp_path / f"{split}_{folder}" / f"{name}{end}")
        return tmp_path

    return draw


def instances(root, maps, split="train"):
    (root / f"{split}_inst").mkdir(exist_ok=True)
    for name, ids in maps.items():
        Image.fromarray(ids).save(root / f"{split}_inst" / f"{name}.png")


def settled(root, **settings) -> Domain:
    return settle_labels(find(root), DataSettings(**settings))[0]


def said(root, **settings) -> list[str]:
    report = check(root, size=(8, 8), settings=DataSettings(**settings))
    return [f"{finding.severity}: {finding.what}" for finding in report.findings if "to train on" not in finding.what]


# Classes


@pytest.mark.parametrize(
    ("train", "test", "settings", "expected"),
    [
        ((0, 1, 2), (0, 5), {}, (6, ())),
        ((0, 2, 255), (0, 1), {}, (4, (255,))),
        ((0, 255), (0,), {}, (2, (255,))),
        ((0, 1), (0,), {"classes": 35}, (35, ())),
        ((0, 255), (0,), {"classes": 35}, (36, (255,))),
        ((0, 255), (0,), {"classes": 256}, (256, ())),
        ((0, 255), (0,), {"void": ()}, (256, ())),
        ((1, 2), (0,), {"void": (0,)}, (4, (0,))),
        ((0, 254, 255), (0,), {}, (256, ())),
        ((255, 300), (0,), {}, (301, ())),
    ],
)
def test_classes_are_those_of_all_splits_and_255_is_void_where_no_class_is_near(city, train, test, settings, expected):
    city({"0": map_of(*train, dtype="uint16")})
    domain = settled(city({"1": map_of(*test)}, "test"), **settings)
    assert (domain.channels, domain.void) == expected
    assert domain.labels


def test_ids_outside_the_stated_classes_are_an_error_that_names_files_and_values(city):
    root = city({"0": map_of(0, 1), "1": map_of(0, 34), "2": map_of(35, 34, 255)})
    with pytest.raises(
        UserError, match=r"2 label maps hold 34 and 35, .* 0 to 33: .*1\.png' \(34\), .*2\.png' \(34 and 35\)"
    ) as caught:
        settled(root, classes=34)
    assert "data.void=[34, 35]" in caught.value.hint
    assert "data.classes=36" in caught.value.hint
    assert settled(root, classes=34, void=[34, 35, 255]).channels == 35


def test_instance_ids_in_place_of_labels_are_refused_before_they_fill_the_memory(city):
    with pytest.raises(UserError, match="ids up to 33008"):
        settled(city({"0": map_of(0, 33_008, dtype="uint16")}))


@pytest.mark.parametrize("name", ["palette.txt", "palette.json"])
def test_colours_become_classes_by_the_palette_and_others_void(city, tmp_path, name):
    lines = "0 0 0 road\n#ff0000 car\n\n0, 0, 255\tblue sky\n"
    (tmp_path / name).write_text(json.dumps(COLOURS.tolist()) if name.endswith("json") else lines)
    root = city({"0": COLOURS[map_of(0, 1)]})
    assert settled(root, palette=str(tmp_path / name)) == Domain(channels=3, labels=True, palette=COLOURS.tolist())
    city({"1": map_of(0, 9)[..., None].repeat(3, 2)}, "test")
    assert settled(root, palette=str(tmp_path / name)).channels == 4


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 2", "'1 2' is no colour"),
        ("1 2 256", "from 0 to 255"),
        ("#ff00 x", "no colour"),
        ("", "is empty"),
        ("1 2 3\n1 2 3", "twice"),
    ],
)
def test_a_wrong_palette_is_an_error_in_words(tmp_path, text, message):
    (tmp_path / "p.txt").write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        read_palette(tmp_path / "p.txt")
    assert "#rrggbb" in caught.value.hint


def test_a_palette_that_is_not_json_or_not_there_is_an_error_in_words(tmp_path):
    (tmp_path / "p.json").write_text('{"a": 3}')
    for name in ("p.json", "gone.txt"):
        with pytest.raises(UserError, match=name):
            read_palette(tmp_path / name)


@pytest.mark.parametrize(
    ("array", "suffix", "message"),
    [
        (map_of(0, 1), ".jpg", "JPEG does not keep ids"),
        (COLOURS[map_of(0, 1)], ".png", "it shows colours"),
        (np.dstack([COLOURS[map_of(0, 1)], map_of(255)]), ".png", "RGBA pixels are no ids"),
    ],
)
def test_label_maps_without_exact_ids_are_named_with_the_ways_out(city, array, suffix, message):
    root = city({"0": array}, suffix=suffix)
    with pytest.raises(ImageError, match=rf"train_label/0\{suffix}': {message}") as caught:
        settled(root)
    assert "data.labels=false" in caught.value.hint
    assert said(root)[0].startswith(f"error: 1 file cannot be read as label maps: {message}")


def test_what_is_a_label_map_follows_from_the_layout_unless_it_is_said():
    assert labels.wanted(DataSettings(), "labels", "paired")
    assert not labels.wanted(DataSettings(), "labels", "unpaired")
    assert not labels.wanted(DataSettings(), "two-folders", "paired")
    assert labels.wanted(DataSettings(labels=True, direction="BtoA"), "two-folders", "paired")
    assert not labels.wanted(DataSettings(labels=False), "labels", "paired")
    assert not labels.wanted(DataSettings(x=Domain.of(1)), "labels", "paired")
    with pytest.raises(UserError, match="without pairs"):
        labels.wanted(DataSettings(labels=True), "two-folders", "unpaired")
    with pytest.raises(UserError, match="input only"):
        labels.wanted(DataSettings(direction="BtoA"), "labels", "paired")


# Checking


def test_check_says_what_the_label_maps_hold(city):
    report = check(city({"0": map_of(0, 0, 3, 255)}), size=(8, 8))
    assert [(side.side, side.values) for side in report.sides] == [("A", "label map, 8-bit grey"), ("B", "8-bit colour")]
    (note,) = [finding.what for finding in report.findings if finding.severity == "note"]
    assert note == "label map of 4 classes (+ void), 2 occur, most of all 0 (50%), 3 (25%); 25.0% unlabelled"


def test_check_never_takes_label_maps_for_faint_images_and_does_not_expand_their_palette(city):
    image = Image.fromarray(map_of(0, 1, 2))
    image.putpalette(COLOURS.tobytes())
    root = city({"0": map_of(0, 1, 2)})
    image.save(root / "train_label" / "0.png")
    assert [line for line in said(root) if not line.startswith("note: label map")] == []


def test_check_reports_ids_that_are_no_class_with_their_files(city):
    root = city({"0": map_of(0, 1), "1": map_of(0, 34)})
    report = check(root, size=(8, 8), settings=DataSettings(classes=34))
    assert report.findings[0].what == "1 label map holds 34, and the classes are 0 to 33"
    assert report.findings[0].files == (str(root / "train_label" / "1.png"),)
    assert not report.trainable


def test_check_warns_of_classes_with_gaps_and_of_mostly_unlabelled_maps(city):
    assert "warning: only 2 of 171 classes occur, such as 170" in said(city({"0": map_of(0, 170)}))
    assert "warning: 75% of all pixels are unlabelled" in said(city({"0": map_of(0, 255, 255, 255)}))


def test_check_reports_instances_that_are_missing_of_another_size_or_cut(city):
    root = city({"0": map_of(0, 1), "1": map_of(0, 1), "2": map_of(0, 1)})
    instances(root, {"0": map_of(0, 33_008, dtype="uint16"), "1": map_of(0, size=(16, 15))})
    assert said(root)[:2] == [
        "error: 1 file has no instance map in train",
        "error: 1 file has another size than the pair in train",
    ]
    instances(root, {"1": map_of(0, 255)})
    Image.fromarray(np.full((16, 16), -1, np.int32)).save(root / "train_inst" / "2.tif")
    findings = "\n".join(said(root))
    assert "2.tif' has instance ids that are negative" in findings
    assert "warning: 1 file has instance ids up to the most that its type holds" in findings


def test_check_reports_masks_that_are_missing(city, tmp_path):
    root = city({"0": map_of(0, 1), "1": map_of(0, 1)})
    (tmp_path / "masks").mkdir()
    Image.fromarray(map_of(9)).save(tmp_path / "masks" / "1.png")
    assert "error: 1 file has no mask in train" in said(root, region=str(tmp_path / "masks"))
    assert f"error: there is no folder '{tmp_path / 'no'}'" in said(root, region=str(tmp_path / "no"))


def test_an_unpaired_method_takes_label_maps_as_images(city):
    report = check(city({"0": map_of(0, 200)}), size=(8, 8), kind="unpaired")
    assert {side.values for side in report.sides} == {"8-bit grey", "8-bit colour"}


# Training


def prepared(root, *assignments: str, model: str = ""):
    text = f"data: {{source: '{root}', size: 16, {', '.join(assignments)}}}\ntrain: {{device: cpu}}\n"
    text += f"model: {{generator: {{depth: 3, width: 4}}, discriminator: {{layers: 1, width: 4}}, {model}}}"
    return prepare(configure("pix2pix", [Layer("the test", parse(text, "the test"))]))


def test_a_run_settles_the_classes_and_its_configuration_survives(city):
    ready = prepared(city({"0": map_of(0, 2, 255), "1": map_of(0, 1)}))
    assert ready.config.data.x == Domain(channels=4, labels=True, void=(255,))
    assert "x: 2 images, label map of 3 classes (+ void)" in ready.said[1]
    again = configure("pix2pix", [Layer("the run", json.loads(json.dumps(ready.config.tree())))])
    assert again == ready.config
    assert prepare(again).config == ready.config


def test_a_run_that_has_its_classes_keeps_them_and_refuses_new_ids(city):
    tree = prepared(city({"0": map_of(0, 2)})).config.tree()
    city({"1": map_of(7)})
    with pytest.raises(UserError, match="holds 7, and the classes are 0 to 2"):
        prepare(configure("pix2pix", [Layer("the run", tree)]))


def test_instances_are_left_alone_by_a_method_that_does_not_read_them(city):
    root = city({"0": map_of(0, 1), "1": map_of(0, 1)})
    instances(root, {"0": map_of(0, 5), "1": map_of(0, 6)})
    ready = prepared(root)
    assert (ready.config.data.x.instances, ready.train.instances) == (False, [])


def test_instances_and_masks_come_with_the_pairs_for_a_method_that_reads_them(city, tmp_path, monkeypatch):
    monkeypatch.setattr(method_class("pix2pix"), "reads", frozenset({"instances", "region"}))
    for split in ("train", "test"):
        root = city({"0": map_of(0, 1), "1": map_of(0, 1)}, split)
        instances(root, {"1": map_of(0, 5), "0": map_of(0, 6)}, split)
    (tmp_path / "masks").mkdir()
    for name in "01":
        Image.fromarray(map_of(9)).save(tmp_path / "masks" / f"{name}.png")
    ready = prepared(root, f"region: '{tmp_path / 'masks'}'", model="lambda_region: 9")
    assert ready.config.data.x.instances
    for sources in (ready.train.instances, ready.train.region, ready.held_out.instances):
        assert [source.path.stem for source in sources] == ["0", "1"]
    (root / "test_inst" / "1.png").unlink()
    with pytest.raises(UserError, match=r"1 of 2 pairs have no instance map .*test_label/1\.png"):
        prepared(root)


def test_masks_are_refused_where_nothing_reads_them(city, tmp_path):
    root = city({"0": map_of(0, 1)})
    reads = method_class("cyclegan").reads
    assert "region" not in reads
    tree = {"data": {"source": str(root), "region": str(root)}, "train": {"device": "cpu"}}
    with pytest.raises(UserError, match=r"no use for data\.region"):
        prepare(configure("cyclegan", [Layer("the test", tree)]))
