import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from i2i.data.folders import bare, companions, find, image_files, masks, natural, pairs
from i2i.errors import UserError


def draw(*paths: Path, size: tuple[int, int] = (8, 8)) -> None:
    """A small grey picture in each file."""
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full(size[::-1], 9, np.uint8)).save(path)


def names(sources) -> list[str]:
    return [source.name for source in sources]


TWO_FOLDERS = {
    "trainA trainB": ("trainA", "trainB", "testA", "testB"),
    "train/A train/B": ("train/A", "train/B", "test/A", "test/B"),
    "A/train B/train": ("A/train", "B/train", "A/test", "B/test"),
    "two folders in train": ("train/night", "train/noon", "test/night", "test/noon"),
    "two folders with splits": ("map/train", "photo/train", "map/test", "photo/test"),
    "odd names": ("train/{0} %s", "train/ü [b]", "test/{0} %s", "test/ü [b]"),
}


@pytest.mark.parametrize("folders", TWO_FOLDERS.values(), ids=TWO_FOLDERS)
def test_two_folders_are_found_with_their_held_out_split(tmp_path, folders):
    for folder in folders:
        draw(tmp_path / folder / "1.png", tmp_path / folder / "2.png")
    found = find(tmp_path)
    assert found.layout == "two-folders"
    assert set(found.splits) == {"train", "test"}
    assert found.splits["train"].a[0].path == tmp_path / folders[0] / "1.png"
    assert found.splits["train"].b[0].path == tmp_path / folders[1] / "1.png"
    assert found.held_out == found.splits["test"]
    assert f"'{folders[0]}' is A" in found.said


@pytest.mark.parametrize(("a", "b"), [("A", "B"), ("monet", "photo"), ("synthetic", "real")])
def test_two_bare_folders_are_the_two_sides(tmp_path, a, b):
    draw(tmp_path / a / "1.png", tmp_path / b / "1.png")
    found = find(tmp_path)
    assert found.splits["train"].a[0].path == tmp_path / a / "1.png"
    assert found.held_out is None


@pytest.mark.parametrize(("a", "b"), [("A", "B"), ("synthetic", "real")])
def test_known_sides_are_found_among_other_folders(tmp_path, a, b):
    draw(tmp_path / a / "1.png", tmp_path / b / "1.png", tmp_path / "notes" / "1.png")
    assert f"'{a}' is A, '{b}' is B" in find(tmp_path).said


def test_folders_named_for_a_split_are_no_sides(tmp_path):
    draw(tmp_path / "testA" / "1.png", tmp_path / "testB" / "1.png")
    with pytest.raises(UserError, match=r"no layout.*1 in testA/, 1 in testB/"):
        find(tmp_path)


def test_val_is_held_out_before_test(tmp_path):
    for split in ("train", "val", "test"):
        draw(tmp_path / split / "1.png", size=(16, 8))
    found = find(tmp_path)
    assert found.held_out == found.splits["val"]


def test_side_by_side_images_are_halved(tmp_path):
    draw(tmp_path / "train" / "1.png", tmp_path / "train" / "deep" / "2.png", size=(16, 8))
    train = find(tmp_path).splits["train"]
    assert [(s.name, s.half) for s in train.a] == [("1", "left"), ("deep/2", "left")]
    assert [(s.name, s.half) for s in train.b] == [("1", "right"), ("deep/2", "right")]


def test_a_bare_folder_of_side_by_side_images_is_enough(tmp_path):
    draw(tmp_path / "1.png", size=(16, 8))
    draw(tmp_path / "deeper" / "2.png", size=(16, 8))
    assert names(find(tmp_path).splits["train"].a) == ["1"]


def test_square_images_are_taken_for_pairs_only_on_demand(tmp_path):
    draw(tmp_path / "train" / "1.png")
    with pytest.raises(UserError, match="no layout"):
        find(tmp_path)
    assert find(tmp_path, "side-by-side").layout == "side-by-side"


def test_two_folders_of_any_place_are_joined_by_a_comma(tmp_path):
    a, b = tmp_path / "here, there", tmp_path / "else"
    draw(a / "1.png", b / "2.png")
    train = find(f"{a},{b}").splits["train"]
    assert (names(train.a), names(train.b)) == (["1"], ["2"])


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_a_manifest_names_pairs_and_splits(tmp_path, suffix):
    draw(tmp_path / "in" / "x, 1.png", tmp_path / "out.png")
    rows = [
        {"A": "in/x, 1.png", "B": str(tmp_path / "out.png"), "split": "train"},
        {"A": "in/x, 1.png", "B": "out.png", "split": "val"},
        {"A": "in/x, 1.png", "B": "out.png", "split": ""},
    ]
    file = tmp_path / f"list{suffix}"
    if suffix == ".csv":
        file.write_text("A,B,split\n" + "".join(f'"{r["A"]}",{r["B"]},{r["split"]}\n' for r in rows), encoding="utf-8-sig")
    else:
        file.write_text("\n".join(json.dumps(row) for row in rows))
    found = find(file)
    assert found.layout == "manifest"
    assert [len(found.splits[split].a) for split in ("train", "val")] == [2, 1]
    assert [a.path.is_file() and b.path.is_file() for a, b in pairs(found.splits["train"])[0]] == [True, True]


MANIFESTS = {
    "no columns": ("list.csv", "x,y\n1.png,2.png\n", "row 1 .* lacks A or B"),
    "half a row": ("list.jsonl", '{"A": "1.png"}', "row 1 .* lacks A or B"),
    "not an object": ("list.jsonl", "[1, 2]", "row 1 .* lacks A or B"),
    "a number": ("list.jsonl", '{"A": 1, "B": 2}', "row 1 .* lacks A or B"),
    "not JSON": ("list.jsonl", "A,B", "cannot read the manifest"),
    "no rows": ("list.csv", "A,B\n", "no row to train on"),
    "an unknown split": ("list.csv", "A,B,split\n1.png,2.png,tarin\n", "row 1 .* split 'tarin'"),
    "nothing to train on": ("list.csv", "A,B,split\n1.png,2.png,test\n", "no row to train on"),
}


@pytest.mark.parametrize(("name", "text", "message"), MANIFESTS.values(), ids=MANIFESTS)
def test_a_wrong_manifest_is_refused_by_row(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        find(tmp_path / name)
    assert caught.value.hint


def test_a_manifest_that_is_no_text_is_refused(tmp_path):
    (tmp_path / "list.csv").write_bytes(b"\xff\xfe\x00A")
    with pytest.raises(UserError, match=r"cannot read the manifest '.*list.csv'"):
        find(tmp_path / "list.csv")


def test_partners_share_a_name_whatever_their_suffix(tmp_path):
    draw(*(tmp_path / "A" / f"{n}.jpg" for n in (1, 2, 10)), *(tmp_path / "B" / f"{n}.png" for n in (2, 3, 10)))
    matched, alone = pairs(find(tmp_path).splits["train"])
    assert [(a.path.name, b.path.name) for a, b in matched] == [("2.jpg", "2.png"), ("10.jpg", "10.png")]
    assert [source.path.name for source in alone] == ["1.jpg", "3.png"]


def test_images_of_one_stem_in_one_folder_keep_their_suffix(tmp_path):
    draw(tmp_path / "A" / "x.jpg", tmp_path / "A" / "x.png", tmp_path / "B" / "x.png")
    assert names(find(tmp_path).splits["train"].a) == ["x.jpg", "x.png"]


def test_accents_match_however_they_are_written(tmp_path):
    draw(tmp_path / "A" / "caf\u00e9.png", tmp_path / "B" / "cafe\u0301.png")
    assert len(pairs(find(tmp_path).splits["train"])[0]) == 1


def test_names_keep_their_dots(tmp_path):
    draw(tmp_path / "A" / "v1.2.png", tmp_path / "B" / "v1.2.JPG")
    assert names(find(tmp_path).splits["train"].b) == ["v1.2"]


def test_files_come_in_natural_order_without_hidden_ones(tmp_path):
    draw(
        tmp_path / "img10.png",
        tmp_path / "img2.png",
        tmp_path / ".img3.png",
        tmp_path / ".cache" / "img4.png",
        tmp_path / "a" / "1.png",
    )
    (tmp_path / "img5.txt").touch()
    (tmp_path / "loop").symlink_to(tmp_path)
    assert [str(file.relative_to(tmp_path)) for file in image_files(tmp_path)] == [f"a{os.sep}1.png", "img2.png", "img10.png"]


def test_natural_order_compares_any_two_names():
    assert sorted(["b", "10", "a2", "a10", "", "2b"], key=natural) == ["", "2b", "10", "a2", "a10", "b"]


@pytest.mark.parametrize("root", ["nowhere", "nowhere,nothing"])
def test_a_wrong_path_is_named(root):
    with pytest.raises(UserError, match="there is no folder 'nowhere'") as caught:
        find(root)
    assert caught.value.hint


def test_the_missing_one_of_two_folders_is_named(tmp_path):
    draw(tmp_path / "a" / "1.png")
    (tmp_path / "b").mkdir()
    with pytest.raises(UserError, match=r"no folder '.*c'"):
        find(f"{tmp_path / 'a'},{tmp_path / 'c'}")
    with pytest.raises(UserError, match=r"'.*b' holds no images"):
        find(f"{tmp_path / 'a'},{tmp_path / 'b'}")


def test_an_error_says_what_lies_there(tmp_path):
    draw(tmp_path / "trainA" / "1.png", size=(16, 8))
    (tmp_path / "trainB").mkdir()
    with pytest.raises(UserError, match=r"images: 0, 1 in trainA/, 0 in trainB/"):
        find(tmp_path)


def test_a_single_image_is_no_data_set(tmp_path):
    draw(tmp_path / "1.png")
    with pytest.raises(UserError, match="is a file, not a data set"):
        find(tmp_path / "1.png")


LABELS = {
    "as pix2pixHD": ("train_label", "train_img", "train_inst", "test_label", "test_img", "test_inst"),
    "in train": ("train/label", "train/image", "train/inst", "test/label", "test/image", "test/inst"),
    "photo": ("train/label", "train/photo", "train/inst", "test/label", "test/photo", "test/inst"),
}


@pytest.mark.parametrize("folders", LABELS.values(), ids=LABELS)
def test_label_maps_are_found_with_their_photos_instances_and_held_out_split(tmp_path, folders):
    draw(*(tmp_path / folder / f"{n}.png" for folder in folders for n in (1, 2)))
    found = find(tmp_path)
    assert found.layout == "labels"
    assert set(found.splits) == {"train", "test"}
    train = found.splits["train"]
    assert [side[0].path.parent for side in (train.a, train.b, train.instances)] == [tmp_path / f for f in folders[:3]]
    assert f"'{folders[0]}' is A, '{folders[1]}' is B, with instances in '{folders[2]}'" in found.said


def test_label_maps_lie_in_the_top_folder_too_and_instances_may_be_missing(tmp_path):
    draw(tmp_path / "label" / "1.png", tmp_path / "img" / "1.jpg")
    found = find(tmp_path)
    assert (found.layout, found.splits["train"].instances, found.held_out) == ("labels", [], None)


def test_a_split_with_label_maps_but_no_photos_is_no_split(tmp_path):
    draw(*(tmp_path / folder / "1.png" for folder in ("train_label", "train_img", "test_label", "test_inst")))
    assert set(find(tmp_path).splits) == {"train"}
    (tmp_path / "test_img").mkdir()
    assert set(find(tmp_path).splits) == {"train"}


CITYSCAPES = "aachen_00000{}_000019_{}"


def test_views_of_one_scene_are_partners_by_name_and_never_by_order(tmp_path):
    for n in (0, 1, 2):
        draw(tmp_path / "train_label" / f"{CITYSCAPES.format(n, 'gtFine_labelIds')}.png")
        draw(tmp_path / "train_inst" / f"{CITYSCAPES.format(n, 'gtFine_instanceIds')}.png")
    for n in (1, 2, 3):
        draw(tmp_path / "train_img" / f"{CITYSCAPES.format(n, 'leftImg8bit')}.jpg")
    train = find(tmp_path).splits["train"]
    matched, alone = pairs(train)
    assert [(a.name, b.name) for a, b in matched] == [(f"aachen_00000{n}_000019",) * 2 for n in (1, 2)]
    assert len(alone) == 2
    assert [s.path.name for s in companions([a for a, _ in matched], train.instances, "instance map")] == [
        f"{CITYSCAPES.format(n, 'gtFine_instanceIds')}.png" for n in (1, 2)
    ]


@pytest.mark.parametrize(
    "end", ["gtFine_labelTrainIds", "gtFine_color", "label", "labels", "mask", "inst", "instance", "img", "image", "photo"]
)
def test_the_ending_that_names_the_view_is_no_part_of_the_name(end):
    assert bare(f"deep/7_{end}") == "deep/7"
    assert bare(f"deep/_{end}") == f"deep/_{end}"
    assert bare(f"7_{end}_2") == f"7_{end}_2"


def test_files_that_would_share_a_bare_name_keep_their_own(tmp_path):
    draw(*(tmp_path / "train_label" / name for name in ("1_mask.png", "1_label.png")), tmp_path / "train_img" / "1.png")
    assert names(find(tmp_path).splits["train"].a) == ["1_label.png", "1_mask.png"]


def test_a_pair_without_its_companion_is_named(tmp_path):
    draw(*(tmp_path / folder / f"{n}.png" for folder in ("label", "img") for n in (1, 2)), tmp_path / "inst" / "2.png")
    train = find(tmp_path).splits["train"]
    with pytest.raises(UserError, match=r"1 of 2 pairs have no instance map of the same name, such as '.*label/1\.png'"):
        companions(train.a, train.instances, "instance map")


def test_masks_go_beside_the_pairs_of_any_layout(tmp_path):
    draw(
        tmp_path / "masks" / "1.png", tmp_path / "masks" / "2_mask.png", tmp_path / "x" / "1.png", tmp_path / "x" / "2_img.jpg"
    )
    (tmp_path / "list.csv").write_text("A,B\nx/1.png,x/1.png\nx/2_img.jpg,x/1.png\n")
    listed = find(tmp_path / "list.csv").splits["train"].a
    assert [s.path.name for s in companions(listed, masks(tmp_path / "masks"), "mask")] == ["1.png", "2_mask.png"]
    with pytest.raises(UserError, match="no folder"):
        masks(tmp_path / "nowhere")


def test_a_layout_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(UserError, match="no layout 'sidebyside'") as caught:
        find(tmp_path, "sidebyside")
    assert "side-by-side" in str(caught.value.hint)


def test_a_folder_that_cannot_be_listed_is_named(tmp_path, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    draw(tmp_path / "A" / "1.png", tmp_path / "B" / "1.png")
    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(UserError, match="Permission denied"):
        find(f"{tmp_path / 'A'},{tmp_path / 'B'}")
