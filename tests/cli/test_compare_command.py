"""`i2i compare`: the table, what is marked in it, and what is said about it."""

import json
import subprocess
import sys

import pytest


@pytest.fixture
def runs(run_folder, tmp_path, monkeypatch):
    """`runs(a={...}, b={...})`: runs with these values of their last validation, and settings; in the working folder."""
    monkeypatch.chdir(tmp_path)

    def make(**each):
        for name, (values, changes) in each.items():
            log = [{"step": 9, "steps": 9, "epoch": 1, "seconds": 70, **{f"val/{metric}": v for metric, v in values.items()}}]
            run_folder(name, log if values else [], **{"saved": [9], "data": {"source": "/photos"}, **changes})

    return make


def evaluated(path, value, **beside):
    number = {"metric": "kid", "name": "kid (vgg16)", "better": "lower", "n": 50, "n_real": 50, "sha256": "a", "value": value}
    (path / "evaluation.json").write_text(json.dumps({"seed": 0, "metrics": [number], **beside}))


def test_each_run_has_a_column_and_the_best_of_a_row_a_star(i2i, runs):
    runs(a=({"ssim": 0.5, "l1": 9.0}, {"train": {"lr": 1e-3}}), b=({"ssim": 0.6, "swd": 3.0}, {}))
    done = i2i("compare", "a", "b")
    assert [line.rstrip() for line in done.out.splitlines()] == [
        "           a         b",
        "state      finished  finished",
        "method     pix2pix   pix2pix",
        "data       photos    photos",
        "step       9 of 9    9 of 9",
        "epoch      1         1",
        "time       1m10s     1m10s",
        "weights",
        "train.lr   0.001     0.0002",
        "best ssim  0.5 at 9  0.6 at 9 *",
        "last ssim  0.5 at 9  0.6 at 9 *",
    ]
    assert done.err == "* the best of its row\nnext: i2i evaluate b\n"


def test_what_was_measured_on_other_images_is_not_compared(i2i, runs):
    runs(a=({"ssim": 0.5}, {}), b=({"ssim": 0.6}, {"data": {"source": "/other"}}), c=({"ssim": 0.4}, {}))
    done = i2i("compare", ".")
    rows = [line.split("  ") for line in done.out.splitlines()]
    by_name = {row[0].strip(): [cell.strip() for cell in row[1:] if cell.strip()] for row in rows}
    assert by_name["validated on"] == ["set 1", "set 2", "set 1"]
    assert by_name["best ssim"] == ["0.5 at 9 *", "0.6 at 9", "0.4 at 9"]
    assert "note: validations compare within a set only; the sets differ in the data\n" in done.err
    assert done.err.endswith("next: i2i show a\n")


def test_evaluations_are_compared_where_they_rest_on_the_same(i2i, runs, tmp_path):
    runs(a=({"ssim": 0.5}, {}), b=({"ssim": 0.4}, {}))
    for name, value in (("a", 0.2), ("b", 0.1)):
        evaluated(tmp_path / name, value)
    done = i2i("compare", "a", "b")
    assert "evaluated kid (vgg16)  0.2         0.1 *" in done.out
    assert done.err.endswith("next: i2i translate a FOLDER -o OUT\n")
    evaluated(tmp_path / "b", 0.1, data="/others")
    done = i2i("compare", "a", "b")
    assert "evaluated kid (vgg16)  0.2         0.1\n" in done.out
    assert "note: not all evaluations rest on the same" in done.err


def test_best_checkpoints_by_other_metrics_are_pointed_out(i2i, runs):
    runs(a=({"ssim": 0.5}, {}), b=({"ssim": 0.6}, {"train": {"best_by": "l1"}}))
    assert "note: the best checkpoints were chosen by different metrics: l1, ssim" in i2i("compare", "a", "b").err


@pytest.mark.parametrize("columns", [30, 45, 60])
def test_a_narrow_terminal_gets_several_tables_and_no_broken_cell(i2i, runs, monkeypatch, columns):
    runs(**{f"run-{number}": ({"ssim": number / 10}, {}) for number in range(5)})
    whole = i2i("compare", ".").out
    monkeypatch.setenv("COLUMNS", str(columns))
    done = i2i("compare", ".")
    assert max(map(len, done.out.splitlines())) <= columns
    assert sorted(set(done.out.split())) == sorted(set(whole.split()))
    assert len(whole.splitlines()) < len(done.out.splitlines())


def test_json_holds_the_summaries_and_what_differs(i2i, runs):
    runs(a=({"psnr": float("inf")}, {"train": {"lr": 1e-3}}), b=({}, {}))
    tree = json.loads(i2i("compare", "a", "b", "--json").out, parse_constant=pytest.fail)
    assert [run["run"] for run in tree["runs"]] == ["a", "b"]
    assert tree["settings"] == {"train.lr": [0.001, 0.0002]}
    assert tree["exams"] == [1, 1]


def test_names_that_are_not_unique_are_whole_paths(i2i, run_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for place in ("x", "y"):
        (tmp_path / place).mkdir()
        run_folder(f"{place}/run")
    assert i2i("compare", "x", "y").out.splitlines()[0].split() == ["x/run", "y/run"]


def test_compare_does_without_torch(runs):
    runs(a=({"ssim": 0.5}, {}), b=({"ssim": 0.6}, {}))
    code = (
        "import sys, atexit\natexit.register(lambda: print('torch' in sys.modules))\n"
        "sys.argv = ['i2i', 'compare', '.']\nfrom i2i.cli import main; main()"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.endswith("False\n")
