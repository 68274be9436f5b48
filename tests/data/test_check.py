import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from i2i import images
from i2i.config import DataSettings, from_assignments
from i2i.data.check import Report, check
from i2i.data.folders import find
from i2i.data.settle import settle
from i2i.domain import Domain
from i2i.images import ImageError, Picture


def noise(path: Path, size: tuple[int, int] = (8, 8), channels: int = 3, dtype: str = "uint8", top: int | None = None) -> Path:
    """A picture like no other. size: (width, height)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    top = top or (1 if dtype == "float32" else np.iinfo(dtype).max)
    values = np.random.default_rng(list("/".join(path.parts[-2:]).encode())).random((size[1], size[0], channels)) * (
        top + (dtype != "float32")
    )
    path.write_bytes(images.encode(Picture(values.astype(dtype)), path.suffix))
    return path


@pytest.fixture
def two(tmp_path):
    """trainA/ and trainB/ with twelve matching pairs, and two that are held out."""
    for side in "AB":
        for i in range(12):
            noise(tmp_path / f"train{side}" / f"{i}.png")
        for i in range(2):
            noise(tmp_path / f"test{side}" / f"{i}.png")
    return tmp_path


def looked(root, size: int | None = 8, **how) -> Report:
    return check(root, size=size and (size, size), **how)


def said(report: Report) -> list[str]:
    return [f"{finding.severity}: {finding.what}" for finding in report.findings]


def test_a_sound_set_has_nothing_to_report(two):
    report = looked(two)
    assert said(report) == []
    assert report.trainable
    assert report.kind == "paired"
    assert [(s.split, s.side, s.images, s.sizes, s.values) for s in report.sides] == [
        (split, side, count, "8x8", "8-bit colour") for split, count in (("train", 12), ("test", 2)) for side in "AB"
    ]


def test_progress_ends_with_all_files(two):
    told = []
    looked(two, on_progress=lambda done, total: told.append((done, total)))
    assert told == [(n, 28) for n in range(1, 29)]


def test_a_set_without_layout_is_an_error_in_the_report(tmp_path):
    (report,) = [looked(tmp_path / "nowhere")]
    assert said(report) == [f"error: there is no folder '{tmp_path / 'nowhere'}'"]
    assert not report.trainable


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def broken_sum(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[data.index(b"IDAT") + 8] ^= 0xFF
    path.write_bytes(data)


DAMAGES = {
    "empty": (lambda path: path.write_bytes(b""), "the file is empty"),
    "HTML": (lambda path: path.write_bytes(b"<!DOCTYPE html><p>404"), "it is a web page"),
    "truncated": (truncated, ""),
    "checksum": (broken_sum, ""),
    "no image": (lambda path: path.write_bytes(b"\0" * 99), "not an image"),
    "dangling link": (lambda path: (path.unlink(), path.symlink_to("gone")), "no such file"),
}


@pytest.mark.parametrize(("damage", "reason"), DAMAGES.values(), ids=DAMAGES)
@pytest.mark.parametrize("place", ["trainA/3.png", "testB/1.png"])
def test_a_damaged_file_is_an_error(two, damage, reason, place):
    damage(two / place)
    report = looked(two)
    assert reason in said(report)[0]
    assert report.findings[0].files == (str(two / place),)
    assert not report.trainable


def test_headers_alone_do_not_show_damaged_pixels(two):
    truncated(two / "trainA" / "3.png")
    assert looked(two, thorough=False).trainable


def test_files_that_are_all_damaged_are_counted_by_reason(two):
    for file in (two / "trainA").iterdir():
        file.write_bytes(b"")
    (finding,) = looked(two).findings
    assert (finding.severity, finding.count, len(finding.files)) == ("error", 12, 3)


def test_a_missing_file_of_a_manifest_is_found_by_check_and_by_settle(tmp_path):
    noise(tmp_path / "a.png")
    (tmp_path / "list.csv").write_text("A,B\na.png,gone.png\n")
    report = looked(tmp_path / "list.csv")
    assert said(report)[0] == "error: 1 file cannot be read: there is no such file"
    assert report.findings[0].files == (str(tmp_path / "gone.png"),)
    with pytest.raises(ImageError, match=r"gone\.png"):
        settle("y", find(tmp_path / "list.csv").splits["train"].b)


def test_missing_partners_are_counted_and_named(two):
    (two / "trainB" / "3.png").unlink()
    (finding,) = looked(two).findings
    assert (finding.severity, finding.what) == ("warning", "1 file lacks a partner in train")
    assert finding.files == (str(two / "trainA" / "3.png"),)


def test_pairs_without_any_partner_cannot_be_trained_on(two):
    for file in (two / "trainB").iterdir():
        file.rename(file.with_name(f"b{file.name}"))
    assert looked(two).kind == "unpaired"
    assert looked(two).trainable
    report = looked(two, kind="paired")
    assert said(report) == ["error: no image in train has a partner of the same name"]
    assert report.findings[0].count == 24


def test_numbered_folders_of_unequal_size_are_taken_as_unpaired(two):
    for i in range(12, 30):
        noise(two / "trainA" / f"{i}.png")
    report = looked(two)
    assert report.kind == "unpaired"
    assert said(report) == ["note: taken as unpaired, though 12 names stand on both sides"]


def test_pairs_of_different_shape_are_a_warning_and_of_different_size_a_note(two):
    noise(two / "trainA" / "1.png", (16, 8))
    noise(two / "trainA" / "2.png", (16, 16))
    assert said(looked(two)) == [
        "warning: 1 file has another shape than the partner in train",
        "note: 1 file has another size than the partner in train",
    ]
    assert said(looked(two, kind="unpaired")) == []


def test_side_by_side_files_of_odd_shape_are_named(tmp_path):
    for i in range(10):
        noise(tmp_path / "train" / f"{i}.png", (16, 8))
    noise(tmp_path / "train" / "odd.png", (17, 8))
    noise(tmp_path / "train" / "square.png", (8, 8))
    report = looked(tmp_path, size=4)
    assert said(report) == [
        "warning: 1 file has an odd width and cannot be halved",
        "warning: 2 files are not twice as wide as high",
    ]
    assert report.findings[0].files == (str(tmp_path / "train" / "odd.png"),)
    assert report.sides[0].sizes == "4x8 to 8x8"


def test_a_file_too_narrow_for_two_is_an_error(tmp_path):
    noise(tmp_path / "train" / "thin.png", (1, 8))
    report = looked(tmp_path, layout="side-by-side")
    assert said(report)[0] == "error: 1 file is one pixel wide and cannot hold two images"
    assert report.crop is None


def test_no_usual_crop_fits_into_images_of_20_pixels(tmp_path):
    noise(tmp_path / "train" / "1.png", (40, 20))
    report = looked(tmp_path, layout="side-by-side", size=None)
    assert report.crop is None
    assert any("--size 32 enlarges them least" in finding.do for finding in report.findings)


def test_images_smaller_than_the_crop_are_told_with_a_size_that_fits(two):
    (finding,) = looked(two, size=64).findings
    assert finding.what == "24 files are smaller than the crop of 64 pixels"
    assert "--size 32" in finding.do
    assert "default crop of 256" in looked(two, size=None).findings[0].what


@pytest.mark.parametrize(
    ("odd", "what"),
    [
        ({"channels": 1}, "warning: side A mixes 13 8-bit colour, 1 8-bit grey"),
        ({"dtype": "uint16"}, "warning: side A mixes 13 8-bit colour, 1 16-bit colour"),
        ({"channels": 5}, "error: side A mixes images of 3 and 5 channels"),
        ({"dtype": "float32"}, "error: side A mixes float images"),
    ],
)
def test_mixed_kinds_on_a_side_are_counted(two, odd, what):
    (two / "trainA" / "3.png").unlink()
    noise(two / "trainA" / "3.tif", **odd)
    report = looked(two)
    assert [line[: len(what)] for line in said(report)] == [what]
    assert report.trainable == what.startswith("warning")
    assert "3.tif" in f"{report.findings[0].files} {report.findings[0].what}"


def test_values_that_fill_a_corner_of_their_type_are_told_with_the_setting_that_helps(two):
    for file in [*(two / "trainA").iterdir(), *(two / "testA").iterdir()]:
        noise(file, channels=1, dtype="uint16", top=4000)
    (finding,) = looked(two).findings
    assert finding.what.startswith("side A is 16-bit grey, but has no value above ")
    given = from_assignments([finding.do.split("'")[1]]).tree["data"]
    assert DataSettings(**given).x == Domain(channels=1, dtype="uint16", high=4095)


def test_floats_of_one_value_cannot_be_trained_on(two):
    for folder in ("trainA", "testA"):
        for file in (two / folder).iterdir():
            images.write(file.with_suffix(".tif"), Picture(np.full((8, 8, 1), 2, np.float32)))
            file.unlink()
    assert said(looked(two))[0] == "error: every pixel of side A has the value 2"


def test_transparency_is_a_warning_and_opaque_alpha_a_note(two):
    for name, alpha in (("1.png", 255), ("2.png", 100)):
        Image.fromarray(np.random.default_rng(alpha).integers(0, 255, (8, 8, 3)).astype(np.uint8)).save(two / "trainA" / name)
        picture = Image.open(two / "trainA" / name)
        picture.putalpha(alpha)
        picture.save(two / "trainA" / name)
    report = looked(two)
    assert said(report) == ["warning: 1 file is partly transparent", "note: 1 file has an alpha channel"]
    assert report.findings[0].files == (str(two / "trainA" / "2.png"),)


def test_conversions_are_noted(two):
    rgb = Image.fromarray(np.random.default_rng(0).integers(0, 255, (8, 8, 3)).astype(np.uint8))
    rgb.quantize(16).save(two / "trainA" / "1.png")
    (two / "trainA" / "2.png").unlink()
    rgb.convert("CMYK").save(two / "trainA" / "2.jpg")
    (two / "trainA" / "3.png").unlink()
    rgb.rotate(90).save(two / "trainA" / "3.gif", save_all=True, append_images=[rgb])
    told = " ".join(said(looked(two)))
    for words in ("note: 1 file needs a conversion: CMYK converted to RGB", "palette", "warning: 1 file holds several frames"):
        assert words in told


def test_copies_matter_most_between_training_and_held_out(two):
    for target in ("trainA/2.png", "testA/0.png", "trainB/5.png"):
        (two / target).write_bytes((two / "trainA" / "1.png").read_bytes())
    report = looked(two)
    assert said(report) == [
        "warning: 1 file is both in train and held out",
        "warning: 1 file is on side A and on side B",
        "note: 1 file repeats another on the same side, byte by byte",
    ]
    assert report.findings[2].files == (str(two / "trainA" / "2.png"),)


def test_halves_of_one_file_are_no_copies(tmp_path):
    for i in range(10):
        noise(tmp_path / "train" / f"{i}.png", (16, 8))
    assert said(looked(tmp_path)) == []


def test_few_images_are_a_warning_and_unequal_sides_a_note(tmp_path):
    for i in range(3):
        noise(tmp_path / "trainA" / f"a{i}.png")
    for i in range(16):
        noise(tmp_path / "trainB" / f"b{i}.png")
    assert said(looked(tmp_path)) == [
        "warning: there are only 3 images to train on",
        "note: the sides are unequal: 3 images in A, 16 in B",
    ]


def test_files_that_are_no_images_are_noted(two):
    (two / "trainA" / "photo.heic").touch()
    (two / "trainA" / ".hidden").touch()
    (finding,) = looked(two).findings
    assert finding.what == "1 file is no known kind of image"
    assert finding.files == (str(two / "trainA" / "photo.heic"),)


def test_checking_needs_no_torch():
    code = "import sys, json, i2i.data.check; print(json.dumps('torch' in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) is False
