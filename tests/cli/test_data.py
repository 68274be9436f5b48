import io
import json
import shlex
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from i2i.cli import app, data
from i2i.data import catalogue
from i2i.errors import UserError


def run(*arguments: object):
    """The result of `i2i data ...`."""
    result = CliRunner().invoke(app, ["data", *map(str, arguments)])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture
def pairs(tmp_path):
    """Twelve side-by-side pairs of 64 pixels in a folder with an odd name."""
    folder = tmp_path / "my [pairs]"
    (folder / "train").mkdir(parents=True)
    for i in range(12):
        Image.fromarray(np.random.default_rng(i).integers(0, 255, (64, 128, 3), np.uint8)).save(folder / "train" / f"{i}.png")
    return folder


def test_synthetic_and_real_images_are_no_pairs_though_their_names_match(tmp_path):
    for side in ("synthetic", "real"):
        (tmp_path / side).mkdir()
        for i in range(4):
            Image.fromarray(np.full((40, 40, 3), 50 * i, np.uint8)).save(tmp_path / side / f"{i}.png")
    result = run("check", tmp_path)
    assert "judged as pairs" not in result.stdout
    assert f"next: i2i train simgan --data {tmp_path}" in result.stderr


def test_check_says_what_a_folder_is_and_what_to_type_next(pairs):
    result = run("check", pairs)
    assert result.exit_code == 0
    first, *table = result.stdout.splitlines()
    assert (
        first == "side by side: A is the left half, B the right half; judged as pairs, A is the input (B with --direction BtoA)"
    )
    assert table[:2] == ["split  side  images  size   values", "train  A     12      64x64  8-bit colour"]
    assert "warning: 12 files are smaller than the default crop of 256 pixels" in result.stdout
    assert (
        result.stderr == f"next: i2i train pix2pix --data {shlex.quote(str(pairs))} --size 64 --set model.generator.depth=6\n"
    )


def test_check_prints_errors_first_and_ends_with_status_2(pairs):
    (pairs / "train" / "3.png").write_bytes(b"")
    result = run("check", pairs, "--size", 64)
    assert result.exit_code == 2
    findings = [line for line in result.stdout.splitlines() if line.startswith(("error", "warning", "note"))]
    assert findings == ["error: 1 file cannot be read: the file is empty"]
    assert "    train/3.png\n" in result.stdout


def test_check_judges_for_the_method_that_is_named(pairs):
    result = run("check", pairs, "--method", "cyclegan", "--size", 64, "--layout", "side-by-side")
    assert "judged as unpaired images" in result.stdout
    assert result.stderr.endswith("--set data.layout=side-by-side --size 64\n")
    with pytest.raises(UserError, match="no method 'cyclegam'"):
        run("check", pairs, "--method", "cyclegam")


def test_check_without_decoding_does_not_see_damage(pairs):
    file = pairs / "train" / "3.png"
    file.write_bytes(file.read_bytes()[:-40])
    assert [run("check", pairs, *how).exit_code for how in ([], ["--fast"])] == [2, 0]


def test_check_prints_one_json_document(pairs):
    report = json.loads(run("check", pairs, "--json").stdout)
    assert (report["layout"], report["kind"], report["trainable"], report["crop"]) == ("side-by-side", "paired", True, 64)
    assert report["sides"][0] == {"split": "train", "side": "A", "images": 12, "sizes": "64x64", "values": "8-bit colour"}
    assert report["findings"][0]["count"] == 12


def test_check_of_no_data_set_is_a_report_as_well(tmp_path):
    result = run("check", tmp_path / "nowhere", "--json")
    assert result.exit_code == 2
    assert json.loads(result.stdout)["layout"] is None


METHODS = {"paired": "pix2pix", "unpaired": "cyclegan", "simreal": "simgan", "labels": "pix2pixhd"}


@pytest.mark.parametrize("layout", METHODS)
def test_scenes_are_drawn_and_pass_the_check(tmp_path, layout):
    folder = tmp_path / "new" / "scenes"
    made = run("make", "scenes", folder, "--layout", layout, "--count", 10, "--size", 32, "--seed", 4)
    assert (made.exit_code, made.stdout) == (0, f"{folder}\n")
    assert f"next: i2i train {METHODS[layout]} --data {folder}" in made.stderr
    report = json.loads(run("check", folder, "--size", 32, "--json").stdout)
    assert report["kind"] == ("paired" if layout in ("paired", "labels") else "unpaired")
    assert [finding for finding in report["findings"] if finding["severity"] != "note"] == []


def test_check_takes_the_settings_that_training_takes_and_hands_them_on(tmp_path):
    run("make", "scenes", tmp_path / "s", "--layout", "labels", "--count", 2, "--size", 32)
    told = run("check", tmp_path / "s", "--set", "data.classes=20", "--size", "32x16")
    assert "label map of 20 classes" in told.stdout
    assert told.stderr == f"next: i2i train pix2pixhd --data {tmp_path / 's'} --set data.classes=20 --size 32x16\n"
    failed = run("check", tmp_path / "s", "--set", "data.classes=2")
    assert failed.exit_code == 2
    assert "and the classes are 0 to 1" in failed.stdout
    with pytest.raises(UserError, match=r"data\.size must be pixels"):
        run("check", tmp_path / "s", "--size", "32x")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["make", "clouds", "x"], "cannot draw 'clouds'"),
        (["make", "scenes", "x", "--layout", "pairs"], "no layout 'pairs'"),
        (["get", "facade"], "no known set is called 'facade'"),
        (["get", "scenes"], "drawn by the program"),
        (["get", "cityscapes"], "cannot be downloaded"),
    ],
)
def test_wrong_names_are_refused_with_a_hint(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("I2I_DATA", str(tmp_path))
    with pytest.raises(UserError, match=message) as caught:
        run(*arguments)
    assert caught.value.hint


def test_list_shows_every_set_and_which_are_here(tmp_path, monkeypatch):
    monkeypatch.setenv("I2I_DATA", str(tmp_path))
    (tmp_path / "facades").mkdir()
    rows = {row["name"]: row for row in json.loads(run("list", "--json").stdout)}
    assert set(rows) == {entry.name for entry in catalogue.ENTRIES} | {"scenes"}
    assert [name for name, row in rows.items() if row["here"]] == ["facades"]
    assert (rows["facades"]["A"], rows["cityscapes"]["terms"]) == ("photo", "not distributed")
    lines = run("list").stdout.splitlines()
    assert lines[0].split() == ["name", "layout", "A", "B", "images", "size", "terms", "here"]
    assert len(lines) == len(rows) + 1


def test_a_terminal_gets_the_same_table(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stdout", screen := Terminal())
    data._table(["name", "size"], [["[red]odd[/]", "3"]])
    assert "[red]odd[/]" in screen.getvalue()


@pytest.mark.parametrize(("name", "method"), [("facades", "pix2pix"), ("horse2zebra", "cyclegan")])
def test_get_prints_the_folder_of_a_set_that_is_here(tmp_path, name, method):
    for folder in catalogue.find(name).folders:
        (tmp_path / name / folder).mkdir(parents=True)
    result = run("get", name, "--into", tmp_path)
    assert result.stdout == f"{tmp_path / name}\n"
    direction = " --direction BtoA" if name == "facades" else ""
    assert result.stderr == f"next: i2i train {method} --data {tmp_path / name}{direction}\n"


def test_progress_off_a_terminal_is_a_line_now_and_then(monkeypatch, capsys):
    clock = iter([0.0, 1.0, 11.0, 12.0, 30.0])
    monkeypatch.setattr(data.time, "monotonic", lambda: next(clock))
    tell = data._progress("fetched", "MB", 1e6)
    for done, total in ((1e6, 9e6), (5e6, 9e6), (6e6, 9e6), (8e6, None)):
        tell(done, total)
    assert capsys.readouterr().err == "fetched 5 of 9 MB\nfetched 8 MB\n"


def test_checking_data_needs_no_torch(pairs):
    code = "import sys; from i2i.cli import data; data.app(sys.argv[1:], standalone_mode=False); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, "check", str(pairs)], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("\nFalse\n")
