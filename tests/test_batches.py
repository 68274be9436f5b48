"""Batches as scripts run them: lists of files, names by template, parts, logs, and what becomes of alpha and metadata."""

import io
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from i2i import conversion, images, inputs, items, naming
from i2i.domain import Domain
from i2i.errors import NothingDone, UserError
from i2i.images import Picture
from i2i.inputs import Shard
from i2i.items import Reading, shown
from i2i.logbook import Logbook
from i2i.method import Accepts
from i2i.naming import Template


def noise(height: int = 8, width: int = 9, channels: int = 3, dtype: type = np.uint8) -> np.ndarray:
    top = np.iinfo(dtype).max
    return np.random.default_rng(height * width).integers(0, top, (height, width, channels), dtype, endpoint=True)


def save(*names: str) -> None:
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        images.write(Path(name), Picture(noise()))


def tree(folder: str) -> list[str]:
    return sorted(file.relative_to(folder).as_posix() for file in Path(folder).rglob("*") if file.is_file())


# Lists


def test_files_of_a_list_keep_the_path_that_is_written_there(same):
    save("in/a/x.png", "in/b/x.png", "in/c.png")
    Path("list.txt").write_bytes(b"in/a/x.png\r\n\nin/b/x.png\n" + os.fsencode(Path("in/c.png").absolute()))
    list(same.translate_folder([], "out", files_from="list.txt"))
    assert tree("out") == ["c.png", "in/a/x.png", "in/b/x.png"]


def test_with_folders_they_keep_their_place_in_these(same):
    save("in/a/x.png", "in/b.png")
    Path("list.txt").write_text("in/a/x.png\nin/a/../b.png\n")
    list(same.translate_folder("in", "out", files_from="list.txt"))
    assert tree("out") == ["a/x.png", "b.png"]
    save("other/c.png")
    Path("list.txt").write_text("other/c.png\n")
    with pytest.raises(UserError, match="lies in none of 'in'"):
        same.translate_folder("in", "new", files_from="list.txt")


def test_names_may_have_line_breaks_and_no_encoding_where_zero_bytes_end_them(same):
    names = [b"a\nb.png", b"\xff.png", b" c.png "]
    save("x.png")
    for name in names:
        Path("x.png").link_to(os.fsdecode(name)) if hasattr(Path, "link_to") else os.link("x.png", name)
    Path("list").write_bytes(b"\0".join(names[:2]) + b"\0")
    records = list(same.translate_folder([], "out", files_from="list", null=True))
    assert [os.fsencode(record.output.name) for record in records] == names[:2]


def test_a_list_may_come_from_stdin_and_leaves_out_what_systems_put_there(same, monkeypatch):
    save("in/a.png", "in/._a.png")
    text = b"in/a.png\nin/._a.png\nin/.DS_Store\nin/Thumbs.db\nin/desktop.ini\n"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))
    assert [i.path for i in inputs.listed("-")] == [Path("in/a.png")]


def test_a_file_of_a_list_that_is_not_there_fails_by_name_and_the_rest_is_done(same):
    save("a.png")
    Path("list.txt").write_text("none.png\na.png\n")
    first, second = same.translate_folder([], "out", files_from="list.txt")
    assert (first.status, second.status) == ("failed", "done")
    assert "'none.png': there is no such file" in first.error


def test_a_list_that_is_empty_or_missing_is_said(same):
    Path("empty").touch()
    with pytest.raises(NothingDone, match="'empty' names no file"):
        inputs.listed("empty")
    with pytest.raises(UserError, match="cannot read the list 'none'"):
        inputs.listed("none")


def test_hidden_files_are_not_found_and_loops_of_links_end(same):
    save("in/a.png", "in/._a.png", "in/.hidden.png", "in/x.png/b.png")
    Path("in/loop").symlink_to(".", target_is_directory=True)
    Path("in/x.png/loop").symlink_to("..", target_is_directory=True)
    assert [str(i.relative) for i in inputs.find(["in"])] == ["a.png", "x.png/b.png"]
    assert [str(i.relative) for i in inputs.find(["in/**/*.png"])] == ["a.png", "x.png/b.png"]


# Names


@pytest.mark.parametrize(
    ("text", "options", "names"),
    [
        ("{stem}_{model}{ext}", {}, ["a_same.png", "sub/b_same.png"]),
        ("{model}/{stem}{ext}", {}, ["same/a.png", "sub/same/b.png"]),
        ("{index:03}{ext}", {}, ["000.png", "sub/001.png"]),
        ("{stem}{ext}", {"format": "jpg"}, ["a.jpg", "sub/b.jpg"]),
    ],
)
def test_outputs_are_called_as_the_template_says(same, text, options, names):
    save("in/a.png", "in/sub/b.png")
    list(same.translate_folder("in", "out", name=text, **options))
    assert tree("out") == names


def test_samples_are_numbered_where_the_template_says_or_at_the_end():
    assert str(Template("{sample}/{stem}{ext}").name("a", ".png", 0, 3)) == "3/a.png"
    assert str(Template("{stem}{ext}").name("a", ".png", 0, 3)) == "a_3.png"
    assert str(Template("{stem}-{sample:02}{ext}").name("a", ".png", 0, None)) == "a-00.png"


@pytest.mark.parametrize(
    ("text", "words", "hint"),
    [
        ("{step}{ext}", "{step}, which is not known", "'stem'"),
        ("{}{ext}", "{}, which is not known", "fields are {stem}"),
        ("{stem.__class__}{ext}", "not known", "fields are"),
        ("{stem[0]}{ext}", "not known", "'stem'"),
        ("{stem", "not understood", "fields are"),
        ("{stem:05d}{ext}", "not understood", "fields are"),
        ("{stem}.png", "does not end with {ext}", "{ext} comes last"),
        ("../{stem}{ext}", "leads out of", "inside"),
        ("/tmp/{stem}{ext}", "leads out of", "inside"),
    ],
)
def test_a_template_that_makes_no_names_is_refused_at_once(text, words, hint):
    with pytest.raises(UserError) as caught:
        Template(text)
    assert words in caught.value.message
    assert hint in caught.value.hint


def test_two_outputs_of_one_name_are_refused_before_the_first_is_written(same):
    save("in/a.png", "in/b.png")
    with pytest.raises(UserError, match=r"'in/a.png' and 'in/b.png' would both become 'all.png'"):
        same.translate_folder("in", "out", name="all{ext}")
    assert not Path("out").exists()


def test_samples_of_one_image_and_another_keep_apart(same):
    found = [inputs.Input(Path(f"in/{stem}.png"), Path(f"{stem}.png")) for stem in ("a", "a1")]
    together = Template("{stem}{sample}{ext}")  # a10.png is the eleventh of the one and the first of the other
    jobs = naming.plan(found, Path("out"), Domain(channels=3), None, "refuse", template=together, count=11)
    assert len({output.path for job in jobs for output in job.outputs}) == 22


def test_a_template_and_the_name_of_one_file_contradict_each_other(same):
    save("a.png")
    with pytest.raises(UserError, match="is the name of one file already"):
        same.translate_folder("a.png", "b.png", name="{index}{ext}")


def test_a_name_of_255_bytes_that_grows_fails_alone(same):
    save("in/a.png")
    try:
        save("in/" + "x" * 251 + ".png")
    except images.ImageError:
        pytest.skip("this file system refuses the name")
    short, long = same.translate_folder("in", "out", name="{stem}_{model}{ext}")
    assert (short.status, long.status) == ("done", "failed")
    assert "File name too long" in long.error
    assert tree("out") == ["a_same.png"]


# Parts


def test_parts_are_disjoint_complete_and_depend_on_the_place_alone(same):
    save(*(f"in/{n}.png" for n in range(12)))
    for number in (1, 2, 3):
        records = list(same.translate_folder("in", "out", shard=f"{number}/3", log="log.jsonl"))
        assert 0 < len(records) < 12
    assert len(tree("out")) == 12
    assert len(Path("log.jsonl").read_text().splitlines()) == 12
    assert Shard(2, 8).has(Path("a/b.png")) == (Shard.parse("2/8").has(Path("a") / "b.png"))


def test_a_part_does_not_mind_what_the_others_have_written(same):
    save(*(f"in/{n}.png" for n in range(12)))
    first = {record.output for record in same.translate_folder("in", "out", shard="1/2")}
    second = {record.output for record in same.translate_folder("in", "out", shard="2/2")}
    assert not first & second
    with pytest.raises(UserError, match="outputs exist already"):
        same.translate_folder("in", "out", shard="1/2")


def test_a_part_gives_the_names_that_the_whole_would_give(same):
    save(*(f"in/{n}.png" for n in range(6)))
    whole = {record.input: record.output.name for record in same.translate_folder("in", "whole", name="{index}{ext}")}
    for number in (1, 2):
        for record in same.translate_folder("in", "parts", name="{index}{ext}", shard=f"{number}/2"):
            assert record.output.name == whole[record.input]
    assert tree("parts") == tree("whole")


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"RANK": "2", "WORLD_SIZE": "4"}, Shard(3, 4)),
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "8"}, Shard(1, 8)),
        ({"RANK": "1", "WORLD_SIZE": "2", "SLURM_PROCID": "0", "SLURM_NTASKS": "8"}, Shard(2, 2)),
    ],
)
def test_torchrun_and_slurm_number_the_parts(environment, expected):
    assert Shard.parse("auto", environment) == expected


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "a/b", "1/0", "-1/2", "auto"])
def test_what_is_no_part_is_refused(text):
    with pytest.raises(UserError):
        Shard.parse(text, {})


# What is noted


def test_the_log_has_a_line_for_each_record_and_is_added_to(same):
    save("in/a.png")
    Path("in/b.png").write_bytes(b"")
    records = list(same.translate_folder("in", "out", log="log.jsonl"))
    assert [json.loads(line) for line in Path("log.jsonl").read_text().splitlines()] == [
        {**record.tree(), "notes": list(record.notes)} for record in records
    ]
    list(same.translate_folder("in", "out", log="log.jsonl", existing="skip"))
    assert [json.loads(line)["status"] for line in Path("log.jsonl").read_text().splitlines()] == [
        "done", "failed", "skipped", "failed",
    ]  # fmt: skip


def test_the_log_is_written_as_it_goes(same):
    save(*(f"in/{n}.png" for n in range(4)))
    records = same.translate_folder("in", "out", log="log.jsonl", batch=1)
    next(records)
    assert len(Path("log.jsonl").read_text().splitlines()) == 1
    records.close()


@pytest.mark.parametrize("null", [False, True])
def test_the_failed_inputs_are_a_list_that_repeats_what_is_left(same, null):
    save("in/a/x.png", "in/c.png")
    bad = ["in/a/bad.png", "in/b.png"]
    for name in bad:
        Path(name).write_bytes(b"")
    list(same.translate_folder("in", "out", errors_to="failed", null=null))
    assert Path("failed").read_text() == "".join(name + ("\0" if null else "\n") for name in bad)
    save(*bad)
    list(same.translate_folder("in", "out", files_from="failed", errors_to="again", null=null))
    assert tree("out") == ["a/bad.png", "a/x.png", "b.png", "c.png"]
    assert Path("again").read_text() == ""


def test_the_list_of_failures_starts_anew_unless_processes_share_it(same):
    Path("in").mkdir()
    Path("in/a.png").write_bytes(b"")
    for _ in range(2):
        list(same.translate_folder("in", "out", errors_to="failed"))
        assert Path("failed").read_text() == "in/a.png\n"
    list(same.translate_folder("in", "out", errors_to="failed", shard="1/1"))
    assert Path("failed").read_text() == "in/a.png\n" * 2


def test_an_input_with_several_failed_outputs_is_listed_once(tmp_path):
    book = Logbook(tmp_path / "log", tmp_path / "failed")
    with book.open() as note:
        for number in range(3):
            note(items.Record(Path("a.png"), Path(f"a_{number}.png"), "failed" if number else "done"))
    assert ((tmp_path / "failed").read_text(), len((tmp_path / "log").read_text().splitlines())) == ("a.png\n", 3)


@pytest.mark.parametrize(
    "files",
    [
        {"log": "in/a.png"},
        {"errors_to": "in/a.png"},
        {"errors_to": "list"},
        {"errors_to": "out/a.png"},
        {"log": "x", "errors_to": "x"},
        {"errors_to": "link"},
        {"log": "none/x"},
    ],
)
def test_what_is_noted_replaces_nothing_that_is_needed(same, files):
    save("in/a.png")
    Path("list").write_text("in/a.png\n")
    Path("link").symlink_to("list")
    before = Path("in/a.png").read_bytes()
    with pytest.raises(UserError):
        list(same.translate_folder("in", "out", files_from="list", **files))
    assert (Path("list").read_text(), Path("in/a.png").read_bytes()) == ("in/a.png\n", before)
    assert not tree("out") if Path("out").exists() else True


def test_a_line_break_in_a_name_needs_zero_bytes_in_lists(same):
    save("in/a\nb.png")
    with pytest.raises(UserError, match="has a line break"):
        same.translate_folder("in", "out", errors_to="failed")


def test_after_so_many_failures_nothing_else_is_begun(same):
    for number in range(60):
        save(f"in/{number}.png") if number % 2 else Path("in").mkdir(exist_ok=True)
        if number % 2 == 0:
            Path(f"in/{number}.png").write_bytes(b"")
    records = list(same.translate_folder("in", "out", max_errors=3, batch=1))
    failed = [record for record in records if record.status == "failed"]
    assert 3 <= len(failed) < 15
    assert sorted(record.output.name for record in records if record.status == "done") == tree("out")


# Alpha, metadata, comparison


def rgba(name: str, dtype: type = np.uint8) -> Picture:
    picture = Picture(noise(dtype=dtype), noise(channels=1, dtype=dtype)[..., 0])
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    images.write(Path(name), picture)
    return picture


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_alpha_is_kept_dropped_or_flattened(same, dtype):
    top = np.iinfo(dtype).max
    picture = rgba("in/a.png", dtype)
    colour = np.array([255, 128, 0]) / 255 * top
    share = picture.alpha[..., None] / top
    for alpha, expected in {
        "keep": picture.array,
        "drop": picture.array,
        "flatten": picture.array * share + top * (1 - share),
        "flatten:#ff8000": picture.array * share + colour * (1 - share),
    }.items():
        list(same.translate_folder("in", "out", alpha=alpha, existing="overwrite"))
        result = images.read(Path("out/a.png"))
        assert (result.alpha is not None) == (alpha == "keep")
        assert np.abs(result.array - expected).max() <= 2


def test_grey_is_flattened_onto_the_grey_of_the_colour(same):
    clear = Picture(np.full((8, 8, 1), 7, np.uint8), np.zeros((8, 8), np.uint8))
    images.write(Path("a.png"), clear)
    list(same.translate_folder("a.png", "out", alpha="flatten:red"))
    assert set(np.unique(images.read(Path("out/a.png")).array)) == {76}


@pytest.mark.parametrize("alpha", ["white", "flatten:none", "keep:white", ""])
def test_what_alpha_cannot_become_is_refused(same, alpha):
    save("a.png")
    with pytest.raises(UserError, match="nothing that alpha can become"):
        same.translate_folder("a.png", "out", alpha=alpha)


SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
GREY = SRGB[:16] + b"GRAY" + SRGB[20:]


def photo(name: str, icc: bytes = SRGB, **options: object) -> None:
    """An image as a camera writes it, lying on its side, with a place, a maker and a size in its EXIF."""
    tags = Image.Exif()
    tags[0x0112], tags[0x010F], tags[0x0100] = 6, "Maker", 9
    tags.get_ifd(0x8769)[0x829A] = 0.5
    tags.get_ifd(0x8769)[0xA002] = 9
    tags.get_ifd(0x8825)[1] = "N"
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(noise()).save(name, exif=tags.tobytes(), icc_profile=icc, **options)


@pytest.mark.parametrize("source", ["a.png", "a.jpg", "a.webp", "a.tif"])
@pytest.mark.parametrize("format", ["png", "jpg", "webp"])
def test_exif_and_profile_are_kept_on_request_without_what_upright_pixels_contradict(same, source, format):
    photo(f"in/{source}")
    list(same.translate_folder("in", "out", format=format, keep_metadata=True))
    with Image.open(f"out/a.{format}") as made:
        assert made.size == (8, 9)
        exif = made.getexif()
        assert made.info["icc_profile"] == SRGB
        assert (exif.get(0x010F), exif.get(0x0112), exif.get(0x0100)) == ("Maker", None, None)
        assert (exif.get_ifd(0x8769).get(0x829A), exif.get_ifd(0x8769).get(0xA002)) == (0.5, None)
        assert exif.get_ifd(0x8825).get(1) == "N"
    assert images.read(Path(f"out/a.{format}")).width == 8
    assert b"eXIfExif" not in Path(f"out/a.{format}").read_bytes()  # in PNG it begins with its byte order


def test_nothing_is_kept_unasked_nor_a_profile_for_other_channels(same):
    photo("in/a.png")
    photo("grey/a.png", GREY)
    list(same.translate_folder("in", "out"))
    list(same.translate_folder("grey", "kept", keep_metadata=True))
    for name, makers in (("out/a.png", None), ("kept/a.png", "Maker")):
        with Image.open(name) as made:
            assert "icc_profile" not in made.info
            assert made.getexif().get(0x010F) == makers


def test_a_kind_of_file_without_a_place_for_metadata_is_told(same):
    photo("in/a.png")
    (record,) = same.translate_folder("in", "out", format="tiff", keep_metadata=True)
    assert record.notes == ("EXIF orientation applied", "EXIF and ICC profile dropped, since none is written to TIFF")


def test_damaged_exif_does_not_cost_the_picture(same):
    file = io.BytesIO()
    Image.fromarray(noise()).save(file, "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\x7f" + bytes(40))
    Path("a.jpg").write_bytes(file.getvalue())
    (record,) = same.translate_folder("a.jpg", "out", keep_metadata=True)
    assert record.status == "done"


def test_input_and_output_are_shown_side_by_side_in_an_extra_file(same):
    rgba("in/a.png", np.uint16)
    list(same.translate_folder("in", "out", compare=True))
    both = images.read(Path("out/a_compare.png")).array
    assert (tree("out"), both.shape, both.dtype) == (["a.png", "a_compare.png"], (8, 18, 3), np.uint8)
    np.testing.assert_array_equal(both[:, :9], noise(dtype=np.uint16) // 257)
    assert np.abs(both[:, :9].astype(int) - both[:, 9:]).max() <= 1


def test_a_comparison_neither_replaces_an_output_nor_what_exists(same):
    save("in/a.png", "in/a_compare.png")
    with pytest.raises(UserError, match=r"would both write 'out/a_compare.png'"):
        same.translate_folder("in", "out", compare=True)
    Path("in/a_compare.png").unlink()
    save("out/a_compare.png")
    with pytest.raises(UserError, match="1 of 2 outputs exist"):
        same.translate_folder("in", "out", compare=True)
    before = Path("out/a_compare.png").read_bytes()
    list(same.translate_folder("in", "out", compare=True, existing="skip"))
    assert (tree("out"), Path("out/a_compare.png").read_bytes()) == (["a.png", "a_compare.png"], before)


# Bytes, limits, threads


def test_the_bytes_of_one_image_become_those_of_another(same):
    source = io.BytesIO()
    Image.fromarray(noise()).save(source, "PNG")
    made = same.translate_bytes(source.getvalue())
    np.testing.assert_array_equal(images.read(made).array, noise())
    assert same.translate_bytes(source.getvalue(), "jpg")[:2] == b"\xff\xd8"
    with pytest.raises(images.ImageError, match="cannot read the image: the file is empty"):
        same.translate_bytes(b"")


def test_a_larger_image_than_allowed_fails_by_its_header(same):
    save("in/a.png")
    (record,) = same.translate_folder("in", "out", max_pixels=71)
    assert "it has 9x8 pixels" in record.error
    assert same.translate(Path("in/a.png"), reading=Reading(max_pixels=72)).width == 9


def test_quality_and_compression_reach_the_files(same):
    Path("in").mkdir()
    images.write(Path("in/a.png"), Picture((np.arange(3072) // 12).astype(np.uint8).reshape(32, 32, 3)))
    sizes = []
    for out, options in {
        "usual": {},
        "loose": {"compression": 0},
        "fine": {"format": "jpg"},
        "poor": {"format": "jpg", "quality": 5},
    }.items():
        (record,) = same.translate_folder("in", out, **options)
        sizes.append(record.output.stat().st_size)
    assert sizes[0] < sizes[1] > 32 * 32 * 3
    assert sizes[3] < sizes[2]


@pytest.mark.parametrize("workers", [1, 7])
def test_any_number_of_threads_gives_the_same(same, workers):
    save(*(f"in/{n}.png" for n in range(9)))
    records = list(same.translate_folder("in", "out", workers=workers))
    assert [record.input.stem for record in records] == [str(n) for n in range(9)]
    assert all(np.array_equal(images.read(record.output).array, noise()) for record in records)


def test_what_is_shown_has_eight_bits_and_three_channels():
    assert shown(np.array([[[0, 65535]]], np.uint16), Domain(channels=2, dtype="uint16")).tolist() == [[[0, 0, 0]]]
    floats = Domain(channels=1, dtype="float32", low=-5, high=5)
    assert shown(np.array([[[-9.0], [0.1], [5.0]]], np.float32), floats)[0, :, 0].tolist() == [0, 130, 255]
    five = np.arange(5, dtype=np.uint8).reshape(1, 1, 5)
    assert shown(five, Domain(channels=5)).tolist() == [[[0, 1, 2]]]


@pytest.mark.parametrize(
    ("palette", "expected"),
    [(None, [[0] * 3, [127] * 3, [255] * 3]), ([(9, 8, 7), (1, 2, 3)], [[9, 8, 7], [1, 2, 3], [0] * 3])],
)
def test_a_label_map_is_shown_in_its_colours(palette, expected):
    x = Domain(channels=3, labels=True, void=() if palette else (2,), palette=palette)
    ids = np.array([[0, 1, -1 if palette else 2]])
    padded = conversion.prepare_ids(ids, x, Domain.of(3), Accepts(1, 1, 0))
    assert items.shown_input(padded, x)[0].tolist() == expected
