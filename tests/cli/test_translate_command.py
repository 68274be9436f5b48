"""`i2i translate` as people and scripts see it: what it prints where, how it ends, what it leaves behind."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch

from i2i import cli, images, models
from i2i.config import Layer
from i2i.errors import OutOfResources
from i2i.images import Picture
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
    first = json.loads(i2i("in", "-o", "out", "--dry-run", "--json").out.splitlines()[0])
    assert first == {"input": "in/a.jpg", "output": "out/a.jpg.png", "status": "planned", "annotations": []}


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


def test_a_full_disk_is_status_6_and_keeps_what_is_done(i2i, monkeypatch):
    good(*(f"in/{n}.png" for n in range(6)))
    write, written = images.write, []

    def fills(path, picture, *, quality=None):
        if len(written) == 2:
            raise OutOfResources(f"cannot write '{path}': No space left on device")
        written.append(path)
        write(path, picture, quality=quality)

    monkeypatch.setattr(images, "write", fills)
    assert i2i("in", "-o", "out").status == 6
    assert len(files("out")) == 2


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_keeps_finished_files_and_says_how_to_go_on(i2i, monkeypatch, number, status):
    good(*(f"in/{n}.png" for n in range(9)))
    calls = []

    def interrupted(self, x, **_):
        calls.append(1)
        if len(calls) == 3:
            signal.raise_signal(number)
        return x

    monkeypatch.setattr(CycleGAN, "translate", interrupted)
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
