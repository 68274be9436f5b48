"""`i2i translate` as people and scripts see it: what it prints where, how it ends, what it leaves behind."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pytest
import torch

from i2i import cli, images, models, watch
from i2i.cli import translate as translate_command
from i2i.config import Layer
from i2i.errors import OutOfResources, UserError
from i2i.images import Picture
from i2i.method import Accepts
from i2i.methods.cyclegan import CycleGAN
from i2i.training import checkpoint


class Outcome(NamedTuple):
    status: int
    out: str
    err: str


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    tree = {"model": {"generator": {"width": 2, "blocks": 1}, "discriminator": {"width": 2}}}
    config = models.configure("cyclegan", [Layer("test", {**tree, "data": {"x": {"channels": 3}, "y": {"channels": 3}}})])
    networks = models.build(config).generators()
    weights = {f"{name}.{key}": t for name, network in networks.items() for key, t in network.state_dict().items()}
    checkpoint.export(path, weights, {"config": config.tree(), "made_with": {}})
    return path


@pytest.fixture
def i2i(model, tmp_path, monkeypatch, capfd):
    """Run `i2i translate MODEL ...` in an empty folder, and say how it ended."""
    monkeypatch.chdir(tmp_path)

    def run(*words: str, before: tuple[str, ...] = ()) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["i2i", *before, "translate", str(model), *words])
        capfd.readouterr()
        try:
            cli.main()
            status = 0
        except SystemExit as end:
            status = end.code or 0
        finally:
            cli.messages.set_quiet(False)
        return Outcome(status, *capfd.readouterr())

    return run


def good(*names: str) -> None:
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        images.write(Path(name), Picture(np.random.default_rng(0).integers(0, 255, (9, 12, 3), np.uint8)))


def damaged(folder: str) -> int:
    """Eight kinds of file that are no whole image."""
    good("scratch.png", "scratch.jpg")
    png, jpg = Path("scratch.png").read_bytes(), Path("scratch.jpg").read_bytes()
    wide = bytearray(png)
    wide[16:24] = b"\x00\x01\x00\x00" * 2
    broken = bytearray(png)
    broken[len(png) // 2] ^= 0xFF
    contents = [
        b"",
        png[:60],
        jpg[: len(jpg) // 2],
        b"<!doctype html><html></html>",
        bytes(broken),
        b"text",
        bytes(wide),
        b"\0" * 500,
    ]
    Path(folder).mkdir(parents=True, exist_ok=True)
    for number, content in enumerate(contents):
        Path(folder, f"bad{number}.png").write_bytes(content)
    return len(contents)


def files(folder: str) -> list[str]:
    return sorted(str(file.relative_to(folder)) for file in Path(folder).rglob("*") if file.is_file())


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["in", "-o", "out"], 0, "2 of 2 translated"),
        (["in/a.png", "-o", "out.png"], 0, "1 of 1 translated"),
        (["in", "-o", "out", "--dry-run"], 0, "nothing was written"),
        (["in", "-o", "full", "--skip-existing"], 0, "0 of 2 translated, 2 skipped"),
        (["in", "-o", "full", "--overwrite"], 0, "2 of 2 translated"),
        (["in", "-o", "out", "--direction", "BtoA", "--batch", "2", "--precision", "bf16"], 0, "2 of 2 translated"),
        (["in", "-o", "full"], 2, "2 of 2 outputs exist already"),
        (["in", "-o", "in"], 2, "lies in the input folder"),
        (["in", "-o", "out", "--overwrite", "--skip-existing"], 2, "contradict"),
        (["in", "-o", "out", "--device", "nowhere"], 2, "there is no device 'nowhere'"),
        (["in", "-o", "out", "--format", "heic"], 2, "--format"),
        (["in", "-o", "out", "--batch", "0"], 2, "--batch"),
        (["in"], 2, "--out"),
        (["-o", "out"], 2, "there is no INPUT"),
        (["--files-from", "list", "-o", "out"], 3, "1 of 2 translated, 1 failed"),
        (["in", "--files-from", "list", "-o", "out"], 2, "lies in none of 'in'"),
        (["in", "-o", "out", "--name", "{stem}_{model}{ext}"], 0, "2 of 2 translated"),
        (["in", "-o", "out", "--name", "{step}{ext}"], 2, "did you mean 'stem'"),
        (["in", "-o", "out", "--shard", "3/2"], 2, "'3/2' is no part"),
        (["in/a.png", "-o", "out", "--shard", "1/1", "--workers", "1", "--compression", "9"], 0, "1 of 1 translated"),
        (["in", "-o", "out", "--alpha", "pink"], 2, "nothing that alpha can become"),
        (["in", "-o", "out", "--alpha", "flatten:pink", "--keep-metadata", "--compare"], 0, "2 of 2 translated"),
        (["in", "-o", "out", "--mask", "in", "--compare"], 0, "2 of 2 translated"),
        (["in", "-o", "out", "--mask", "in/a.png", "--feather", "0"], 0, "2 of 2 translated"),
        (["in", "-o", "out", "--mask", "full", "--dry-run"], 0, "nothing was written"),
        (["in", "-o", "out", "--mask", "bad"], 4, "cannot translate 'in/a.png': it has no mask"),
        (["in", "-o", "out", "--mask", "list"], 4, "cannot read 'list'"),
        (["in", "-o", "out", "--mask", "alpha"], 4, "it has no alpha channel, which was to be its mask"),
        (["in", "-o", "out", "--mask", "none"], 2, "there is no folder or file 'none'"),
        (["in", "-o", "out", "--mask", "alpha", "--feather", "-1"], 2, "--feather"),
        (["in", "-o", "out", "--feather", "3"], 2, "--feather is about the edges of masks, and there is none"),
        (["in", "-o", "out", "--max-pixels", "99"], 4, "over 9.9e-05 megapixels"),
        (["bad", "in", "-o", "out", "--fail-fast", "--batch", "1"], 3, "images were not begun"),
        (["bad", "in", "-o", "out", "--max-errors", "100"], 3, "2 of 10 translated, 8 failed"),
        (["in", "-o", "out", "--fail-fast", "--max-errors", "3"], 2, "contradict"),
        (["in", "-o", "out", "--log", "log", "--errors-to", "log"], 2, "needed for something else"),
        (["in", "-o", "out", "--watch", "--overwrite"], 2, "--watch and --overwrite contradict"),
        (["in", "-o", "out", "--watch", "--dry-run"], 0, "nothing was written"),
        (["in", "-o", "-"], 2, "these go together"),
        (["-", "-o", "out"], 2, "these go together"),
        (["-", "-o", "-", "--json"], 2, "one image becomes one image"),
        (["-", "-o", "-", "--freeze-norm"], 2, "one image becomes one image"),
        (["nothing", "-o", "out"], 2, "there is no file or folder 'nothing'"),
        (["in", "bad", "-o", "out"], 3, "2 of 10 translated, 8 failed"),
        (["bad", "-o", "out"], 4, "no image could be translated"),
        (["empty", "-o", "out"], 4, "there is no image in 'empty'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_how_it_ends(i2i, words, status, said):
    good("in/a.png", "in/b.jpg", "full/a.png", "full/b.png")
    damaged("bad")
    Path("empty").mkdir()
    Path("list").write_text("in/a.png\nnone.png\n")
    before = files(".")
    ended = i2i(*words)
    assert (ended.status, ended.out if "--dry-run" not in words else "") == (status, "")
    assert said in ended.err
    assert "Traceback" not in ended.err
    if status == 2:
        assert files(".") == before


def test_a_model_that_is_not_there_or_no_model_is_status_2(i2i, monkeypatch, model):
    good("in/a.png")
    Path("wrong.safetensors").write_bytes(b"no weights")
    for path in ("none.safetensors", "wrong.safetensors", "in"):
        monkeypatch.setattr(sys, "argv", ["i2i", "translate", path, "in", "-o", "out"])
        with pytest.raises(SystemExit) as end:
            cli.main()
        assert end.value.code == 2


def test_every_damaged_file_is_named_with_a_reason_and_the_rest_is_done(i2i):
    good(*(f"in/{n}.png" for n in range(5)))
    bad = damaged("in")
    ended = i2i("in", "-o", "out", "--json")
    records = [json.loads(line) for line in ended.out.splitlines()]
    failed = {Path(r["input"]).name: r["error"] for r in records if r.get("status") == "failed"}
    assert ended.status == 3
    assert sorted(failed) == [f"bad{n}.png" for n in range(bad)]
    assert all(name in reason and name in ended.err for name, reason in failed.items())
    assert files("out") == [f"{n}.png" for n in range(5)]


def test_json_is_all_there_is_on_stdout(i2i):
    good("in/a.png", "in/b c.png", "out/a.png")
    Path("in/z.png").write_bytes(b"")
    ended = i2i("in", "-o", "out", "--skip-existing", "--json")
    *records, summary = [json.loads(line) for line in ended.out.splitlines()]
    assert [(r["input"], r["output"], r["status"]) for r in records] == [
        ("in/a.png", "out/a.png", "skipped"),
        ("in/b c.png", "out/b c.png", "done"),
        ("in/z.png", "out/z.png", "failed"),
    ]
    assert (records[1]["width"], records[1]["height"], records[1]["error"]) == (12, 9, None)
    assert records[1]["ms"] > 0
    sums = summary["summary"]
    assert [sums[key] for key in ("total", "done", "skipped", "failed", "output")] == [3, 1, 1, 1, "out"]


def test_odd_names_survive_json_and_the_terminal(i2i):
    names = [b"in/\xff.png", b"in/a\nb.png", b"in/x[/red].png"]
    good(*map(os.fsdecode, names))
    Path(os.fsdecode(names[0])).write_bytes(b"")
    ended = i2i("in", "-o", "out", "--json")
    inputs = {os.fsencode(r["input"]) for r in map(json.loads, ended.out.splitlines()) if "input" in r}
    assert (ended.status, inputs) == (3, set(names))
    assert i2i("in", "-o", "new", "--dry-run").status == 0


def test_a_dry_run_shows_which_becomes_which(i2i):
    good("in/a.jpg", "in/a.png", "in/sub/c.png")
    assert i2i("in", "-o", "out", "--dry-run").out.splitlines() == [
        "in/a.jpg -> out/a.jpg.png",
        "in/a.png -> out/a.png.png",
        "in/sub/c.png -> out/sub/c.png",
    ]
    assert not Path("out").exists()
    first, _, _, last = map(json.loads, i2i("in", "-o", "out", "--dry-run", "--json").out.splitlines())
    said = ["the name keeps the suffix of the input, since another input has the same name without it"]
    planned = {"input": "in/a.jpg", "output": "out/a.jpg.png", "status": "planned"}
    assert first == {**planned, "lacks": [], "notes": said, "annotations": []}
    assert last == {"summary": {"total": 3, "planned": 3, "skipped": 0, "failing": 0, "output": "out"}}


def test_two_names_that_differ_in_the_suffix_only_are_told_in_a_note(i2i):
    good("in/a.bmp", "in/a.png", "in/c.png")
    note = "note: the name keeps the suffix of the input, since another input has the same name without it"
    assert note in i2i("in", "-o", "out", "--dry-run").err
    assert f"{note} (2 images, such as 'in/a.bmp')" in i2i("in", "-o", "out").err
    assert note not in i2i("in", "-o", "new", "--name", "{index}{ext}").err


def test_a_dry_run_looks_whether_masks_are_there(i2i):
    good("in/a.png", "in/b.png", "masks/a.png")
    ended = i2i("in", "-o", "out", "--mask", "masks", "--dry-run")
    assert ended.out.splitlines() == ["in/a.png -> out/a.png", "in/b.png -> out/b.png (would fail: it has no mask)"]
    assert ended.err == "dry run: nothing was written; 1 of 2 images would be translated, 1 would fail\n"
    *records, last = map(json.loads, i2i("in", "-o", "out", "--mask", "masks", "--dry-run", "--json").out.splitlines())
    assert [record["lacks"] for record in records] == [[], ["mask"]]
    assert last["summary"]["failing"] == 1
    assert "would fail" not in i2i("in", "-o", "out", "--mask", "alpha", "--dry-run").err


def test_one_image_is_one_image(i2i):
    good("in/a.png")
    assert i2i("in", "-o", "out", "--dry-run").err == "dry run: nothing was written; 1 of 1 image would be translated\n"
    i2i("in", "-o", "out")
    assert i2i("in", "-o", "out").err.startswith("error: the output 'out/a.png' exists already\n")


@pytest.mark.parametrize("name", ["x.xyz", "x.jpgg", "sub/x.Tif8"])
def test_an_unknown_kind_of_file_is_not_taken_for_a_folder(i2i, name):
    good("in/a.png", "in/b.png")
    ended = i2i("in/a.png", "-o", name)
    assert (ended.status, ended.err.splitlines()[0]) == (2, f"error: '{name}' is no name of an image that can be written")
    assert "a folder must be there already" in ended.err
    assert i2i("in", "-o", name, "--dry-run").status == 0  # of a folder comes a folder
    Path(name).mkdir(parents=True)
    assert i2i("in/a.png", "-o", name).status == 0
    assert (Path(name) / "a.png").exists()


@pytest.mark.parametrize("name", ["out", "out-1.5", "out.2024-05", "v.1"])
def test_what_does_not_look_like_a_kind_of_file_is_a_folder(i2i, name):
    good("in/a.png")
    assert i2i("in/a.png", "-o", name).status == 0


def test_inputs_far_larger_than_in_training_get_one_note_for_all(i2i):
    large = np.zeros((573, 580, 3), np.uint8)  # the model's own size is 286 by default
    for name in ("in/a.png", "in/b.png"):
        Path("in").mkdir(exist_ok=True)
        images.write(Path(name), Picture(large))
    images.write(Path("in/c.png"), Picture(large[1:]))
    said = [line for line in i2i("in", "-o", "out").err.splitlines() if line.startswith("note")]
    assert len(said) == 1
    assert said[0].startswith("note: over 2 times as large as in training, where images were resized to 286 pixels: ")
    assert said[0].endswith("(2 images, such as 'in/a.png')")


def test_a_damaged_model_is_refused_with_what_to_do(i2i):
    good("in/a.png")
    Path("cut.safetensors").write_bytes(b"a page that says: not found, in more than eight bytes")
    with pytest.raises(UserError, match="cannot read the model") as error:
        models.open_model(Path("cut.safetensors"), torch.device("cpu"))
    assert "copy it again" in error.value.hint


def test_quiet_prints_errors_only(i2i):
    good("in/a.png")
    assert i2i("in", "-o", "out", before=("--quiet",)) == (0, "", "")
    Path("in/b.png").write_bytes(b"")
    ended = i2i("in", "-o", "new", before=("--quiet",))
    assert ended.err.startswith("error: cannot read 'in/b.png': the file is empty")


def test_without_a_terminal_there_are_no_control_codes(i2i):
    good(*(f"in/{n}.png" for n in range(9)))
    ended = i2i("in", "-o", "out")
    assert "\x1b" not in ended.err
    assert "\r" not in ended.err


def test_what_reading_converted_is_told_once_for_all_images(i2i):
    rgba = np.random.default_rng(0).integers(0, 255, (9, 12, 4), np.uint8)
    Path("in").mkdir()
    for number in range(3):
        images.write(Path(f"in/{number}.png"), Picture(rgba[..., :3], rgba[..., 3]))
    ended = i2i("in", "-o", "out", "--format", "jpg")
    assert "note: alpha dropped, since JPEG has none (3 images, such as 'in/0.png')" in ended.err


def test_no_memory_for_one_image_is_status_6(i2i, monkeypatch):
    good("in/a.png")

    def full(self, x, **_):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(CycleGAN, "translate", full)
    ended = i2i("in", "-o", "out")
    assert ended.status == 6
    assert "12x12 pixels does not fit in memory" in ended.err


def test_an_image_that_does_not_fit_in_memory_is_done_in_tiles_and_that_is_said(i2i, monkeypatch):
    good("in/a.png")
    whole = CycleGAN.translate

    def narrow(self, x, **more):
        if x.shape[2] * x.shape[3] > 400:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return whole(self, x, **more)

    monkeypatch.setattr(CycleGAN, "translate", narrow)
    large = np.random.default_rng(0).integers(0, 255, (8, 256, 3), np.uint8)
    images.write(Path("in/large.png"), Picture(large))
    monkeypatch.setattr(CycleGAN, "accepts", lambda self: Accepts(4, 8, 4))
    monkeypatch.setattr("i2i.engine.LEAST", 16)
    ended = i2i("in", "-o", "out")
    assert ended.status == 0
    assert "tiles of 32 pixels, since it did not fit in memory in one piece (1 image, such as 'in/large.png')" in ended.err
    assert images.read(Path("out/large.png")).array.shape == large.shape


def test_a_full_disk_is_status_6_and_keeps_what_is_done(i2i, monkeypatch):
    good(*(f"in/{n}.png" for n in range(6)))
    write, written = images.write, []

    def fills(path, picture, packing):
        if len(written) == 2:
            raise OutOfResources(f"cannot write '{path}': No space left on device")
        written.append(path)
        write(path, picture, packing)

    monkeypatch.setattr(images, "write", fills)
    assert i2i("in", "-o", "out").status == 6
    assert len(files("out")) == 2


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_keeps_finished_files_and_says_how_to_go_on(i2i, signalled, number, status):
    good(*(f"in/{n}.png" for n in range(9)))
    signalled(number)
    ended = i2i("in", "-o", "out", "--json", "--batch", "1")
    assert ended.status == status
    assert "--skip-existing goes on" in ended.err
    assert files("out") == ["0.png", "1.png", "2.png"]
    assert json.loads(ended.out.splitlines()[-1])["summary"]["done"] == 3
    assert i2i("in", "-o", "out", "--skip-existing").status == 0
    assert len(files("out")) == 9


def test_kill_9_leaves_no_partial_file_under_a_final_name(i2i, model, tmp_path):
    big = np.random.default_rng(0).integers(0, 255, (200, 200, 3), np.uint8)
    Path("in").mkdir()
    for number in range(150):
        images.write(Path(f"in/{number}.png"), Picture(big))
    code = "import torch; torch.set_num_threads(1); from i2i.cli import main; main()"
    words = [sys.executable, "-c", code, "translate", str(model), "in", "-o", "out"]
    with subprocess.Popen(words, stderr=subprocess.DEVNULL, cwd=tmp_path) as process:
        deadline = time.monotonic() + 60
        while len(list(Path("out").glob("[0-9]*"))) < 4 and time.monotonic() < deadline:
            time.sleep(0.002)
        process.kill()
    kept = {path: path.read_bytes() for path in Path("out").glob("[0-9]*")}
    assert 4 <= len(kept) < 150
    for path in kept:
        assert images.read(path).width == 200
    assert i2i("in", "-o", "out", "--skip-existing").status == 0
    assert len(list(Path("out").glob("[0-9]*"))) == 150
    assert all(path.read_bytes() == content for path, content in kept.items())


def test_the_help_does_not_load_torch():
    code = "import sys; import i2i.cli.translate; assert 'torch' not in sys.modules and 'rich' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_run_is_what_comes_next_and_a_bare_model_is_not(i2i, model, tmp_path, monkeypatch, capfd):
    good("in/a.png")
    assert "next:" not in i2i("in", "-o", "bare").err
    run = tmp_path / "my run"
    run.mkdir()
    (run / "model.safetensors").write_bytes(model.read_bytes())
    (run / "config.yaml").write_text("method: cyclegan")
    for words, status, comes in ((["in"], 0, True), (["in", "--json"], 0, False), (["in", "missing.png"], 2, False)):
        monkeypatch.setattr(sys, "argv", ["i2i", "translate", "my run", *words, "-o", f"out{len(words)}{comes}"])
        try:
            cli.main()
            ended = 0
        except SystemExit as end:
            ended = end.code or 0
        said = capfd.readouterr()
        assert ended == status
        assert said.err.endswith("next: i2i show 'my run'\n") == comes
        assert "next:" not in said.out


def test_one_image_goes_from_stdin_to_stdout(model, tmp_path):
    good(str(tmp_path / "a.png"))
    words = [sys.executable, "-m", "i2i", "translate", str(model), "-", "-o", "-", "--format", "jpg", "--device", "cpu"]
    source = (tmp_path / "a.png").read_bytes()
    done = subprocess.run(words, input=source, capture_output=True, check=False, cwd=Path(cli.__file__).parents[2])
    assert (done.returncode, done.stderr, done.stdout[:2]) == (0, b"", b"\xff\xd8")
    assert images.read(done.stdout).width == 12


def test_what_goes_through_a_pipe_can_have_a_mask(i2i, monkeypatch):
    array, mask = np.full((9, 12, 3), 200, np.uint8), np.zeros((9, 12), np.uint8)
    mask[:, 8:] = 255
    images.write(Path("mask.png"), Picture(mask[..., None]))
    source = images.encode(Picture(array, mask), ".png")
    made = []
    for given in ("alpha", "mask.png"):
        out = io.TextIOWrapper(io.BytesIO())
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(source)))
        monkeypatch.setattr(sys, "stdout", out)
        assert i2i("-", "-o", "-", "--mask", given, "--feather", "0").status == 0
        made.append(images.read(out.buffer.getvalue()).array)
    np.testing.assert_array_equal(made[0], made[1])
    assert (made[0][:, :8] == 200).all()
    assert (made[0][:, 8:] != 200).any(axis=2).all()


def test_what_comes_from_stdin_and_is_no_image_is_said_and_nothing_comes_out(i2i, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"<html>")))
    ended = i2i("-", "-o", "-")
    assert (ended.status, ended.out) == (4, "")
    assert ended.err.startswith("error: cannot read the image: it is a web page")


def test_a_list_comes_through_a_pipe_and_what_failed_is_the_next_list(i2i, monkeypatch):
    good("in/a.png", "in/b\nc.png")
    Path("in/bad.png").write_bytes(b"")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"in/a.png\0in/b\nc.png\0in/bad.png\0")))
    words = ("in", "--files-from", "-", "-0", "-o", "out", "--log", "log.jsonl")
    assert i2i(*words, "--errors-to", "failed").status == 3
    assert (files("out"), Path("failed").read_bytes()) == (["a.png", "b\nc.png"], b"in/bad.png\0")
    assert len(Path("log.jsonl").read_text().splitlines()) == 3
    good("in/bad.png")
    assert i2i("in", "--files-from", "failed", "-0", "-o", "out", "--errors-to", "left").status == 0
    assert (files("out"), Path("left").read_bytes()) == (["a.png", "b\nc.png", "bad.png"], b"")


def test_a_part_without_images_is_no_failure(i2i):
    good("in/a.png")
    ended = [i2i("in", "-o", "out", "--shard", f"{number}/2") for number in (1, 2)]
    assert [end.status for end in ended] == [0, 0]
    assert files("out") == ["a.png"]


def test_two_processes_do_the_parts_that_torchrun_gives_them(model, tmp_path):
    good(*(str(tmp_path / f"in/{n}.png") for n in range(8)))
    code = "import torch; torch.set_num_threads(1); from i2i.cli import main; main()"
    words = [sys.executable, "-c", code, "translate", str(model), "in", "-o", "out", "--shard", "auto", "--log", "log"]
    both = [
        subprocess.Popen(words, cwd=tmp_path, env={**os.environ, "RANK": str(rank), "WORLD_SIZE": "2"}) for rank in range(2)
    ]
    assert [process.wait() for process in both] == [0, 0]
    assert files(str(tmp_path / "out")) == [f"{n}.png" for n in range(8)]
    assert sorted(json.loads(line)["status"] for line in (tmp_path / "log").read_text().splitlines()) == ["done"] * 8


def test_a_dry_run_shows_comparisons_too(i2i):
    good("in/a.png")
    said = i2i("in", "-o", "out", "--dry-run", "--compare").out.splitlines()
    assert said == ["in/a.png -> out/a.png", "in/a.png -> out/a_compare.png (beside its output)"]


def test_the_help_groups_the_options(i2i):
    said = i2i("--help").out
    for panel in ("Which images", "What comes out", "In which style", "How it computes", "When something fails"):
        assert panel in said


ODD = {
    "pipe.png": os.mkfifo,
    "loop.png": lambda path: path.symlink_to(path),
    "gone.png": lambda path: path.symlink_to("nowhere"),
    "x[/red].png": lambda path: path.write_bytes(b""),
    "[b].png": lambda path: path.write_bytes(b"<html>"),
    "line\nbreak.png": lambda path: path.write_bytes(b"\x89PNG"),
    os.fsdecode(b"\xff.png"): lambda path: path.write_bytes(b"text"),
    "n" * 251 + ".png": lambda path: path.write_bytes(b"\0" * 99),
    "locked.png": lambda path: path.touch(0o000),
}


def _unread(path: Path) -> tuple[int, ...]:
    """What the system knows of a file, but not when it was last read."""
    found = path.lstat()
    return found.st_ino, found.st_mode, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def test_what_is_odd_in_a_folder_fails_alone_and_by_name(i2i):
    good("in/good.png", "in/folder.png/inside.png")
    Path("in/round").symlink_to("..", target_is_directory=True)
    made = []
    for name, make in ODD.items():
        try:
            make(Path("in") / name)
            made.append(name)
        except OSError:  # this file system refuses the name
            pass
    before = {name: _unread(Path("in") / name) for name in made}
    start = time.monotonic()
    ended = i2i("in", "-o", "out", "--json")
    assert time.monotonic() - start < 20
    records = [json.loads(line) for line in ended.out.splitlines()[:-1]]
    assert {Path(r["input"]).name for r in records if r["status"] == "failed"} == set(made)
    assert all(r["error"] and r["hint"] and r["error"].isprintable() for r in records if r["status"] == "failed")
    assert (ended.status, files("out")) == (3, ["folder.png/inside.png", "good.png"])
    assert {name: _unread(Path("in") / name) for name in made} == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_folder_that_may_not_be_written_to_is_refused(i2i):
    good("in/a.png")
    Path("out").mkdir(0o500)
    ended = i2i("in", "-o", "out")
    assert (ended.status, files("out")) == (2, [])
    assert "permission denied" in ended.err


def test_a_disk_that_fills_up_keeps_whole_files_and_nothing_else(model, tmp_path):
    good(*(str(tmp_path / f"in/{n}.png") for n in range(3)))
    big = np.random.default_rng(0).integers(0, 255, (200, 200, 3), np.uint8)
    images.write(tmp_path / "in/9.png", Picture(big))
    code = "import resource, signal, torch; torch.set_num_threads(1); signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
    code += "resource.setrlimit(resource.RLIMIT_FSIZE, (9999, 9999)); from i2i.cli import main; main()"
    words = [sys.executable, "-c", code, "translate", str(model), "in", "-o", "out", "--batch", "1"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, files(str(tmp_path / "out"))) == (6, ["0.png", "1.png", "2.png"])
    assert "cannot write 'out/9.png'" in done.stderr


def test_the_output_may_hold_the_input_and_never_lies_in_it(i2i):
    good("all/in/a.png", "all/in/sub/b.png")
    assert i2i("all/in", "-o", "all").status == 0
    assert files("all") == ["a.png", "in/a.png", "in/sub/b.png", "sub/b.png"]
    assert i2i("all/in", "-o", "all/in/out").status == 2
    assert i2i("all", "-o", "all/in/new").status == 2
    assert i2i("all/in/sub", "-o", "all/in", "--overwrite").status == 0  # b.png of another folder
    assert files("all") == ["a.png", "in/a.png", "in/b.png", "in/sub/b.png", "sub/b.png"]


@pytest.mark.parametrize(("last", "status"), [(b"", 3), (None, 0)])
def test_watching_translates_what_comes_until_it_is_interrupted(i2i, monkeypatch, last, status):
    good("in/a.png")
    rounds = []

    def next_round(stopped):
        rounds.append(files("out") if Path("out").exists() else [])
        if len(rounds) == 3:
            good("in/sub/b.png")
            if last is not None:
                Path("in/z.png").write_bytes(last)
        if len(rounds) == 6:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(watch, "pause", next_round)
    ended = i2i("in", "-o", "out", "--watch", "--log", "log.jsonl")
    assert (ended.status, files("out")) == (status, ["a.png", "sub/b.png"])
    assert rounds[0] == []
    assert rounds[1:4] == [["a.png"]] * 3
    assert "waiting for images in 'in'" in ended.err
    assert len(Path("log.jsonl").read_text().splitlines()) == (3 if status else 2)


def test_waiting_is_no_work_and_does_not_slow_the_rate(i2i, monkeypatch):
    good("in/a.png")
    rounds, now = [], time.monotonic

    def next_round(stopped):
        rounds.append(1000)  # seconds that nobody has to wait
        if len(rounds) == 6:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(watch, "pause", next_round)
    monkeypatch.setattr("i2i.cli.progress.time", SimpleNamespace(monotonic=lambda: now() + sum(rounds)))
    ended = i2i("in", "-o", "out", "--watch", "--json")
    sums = json.loads(ended.out.splitlines()[-1])["summary"]
    assert sums["seconds"] > 6000
    assert sums["images_per_s"] > 1 / 1000  # of the time in which it worked


def test_after_a_translation_a_run_is_measured_if_it_can_be_and_was_not(run_folder, monkeypatch):
    line = {"step": 1, "seconds": 1}
    plain, validated = run_folder("plain", [line]), run_folder("validated", [{**line, "val/ssim": 0.5}])
    assert translate_command._next(plain) == f"i2i show {plain}"
    assert translate_command._next(validated) == f"i2i evaluate {validated}"
    (validated / "evaluation.json").write_text("{}")
    assert translate_command._next(validated) == f"i2i show {validated}"
