"""`i2i evaluate`: what it prints where, what it refuses, and that its JSON is JSON."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from i2i.metrics import METRICS


@pytest.fixture(autouse=True)
def no_weights(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.delenv("I2I_WEIGHTS", raising=False)


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """Folders a/ and b/ of three images, and a working folder around them."""
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for number in range(3):
            Image.fromarray(rng.integers(0, 256, (20, 20, 3), np.uint8)).save(tmp_path / name / f"{number}.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_table_goes_to_stdout_and_words_to_stderr(i2i, folders):
    done = i2i("evaluate", "--fake", "a", "--target", "b", "--metrics", "l1,ms-ssim")
    assert done.status == 0
    first, second, headings, l1, ms_ssim = done.out.splitlines()
    assert (first, second) == ("outputs: 3 images (PNG)", "real: 3 images (PNG)")
    assert headings.split()[:3] == ["metric", "value", "+-"]
    assert l1.split()[0] == "l1"
    assert float(l1.split()[1]) == pytest.approx(85, rel=0.1)
    assert ms_ssim == "ms-ssim  none: the smallest image has a side of 20 pixels: it needs 161"
    assert done.err == "next: i2i evaluate --fake a --target b --json > metrics.json\n"


def test_json_is_strict_with_infinity_as_a_word_and_null_with_a_reason(i2i, folders):
    done = i2i("evaluate", "--fake", "a", "--target", "a", "--metrics", "psnr,l1,kid", "--json")

    def refuse(word):
        raise AssertionError(word)

    tree = json.loads(done.out, parse_constant=refuse)
    psnr, l1, kid = tree["metrics"]
    assert (psnr["value"], psnr["deviation"], l1["value"], kid["value"]) == ("inf", None, 0, None)
    assert (l1["n"], l1["better"], l1["baseline_n"]) == (3, "lower", 2)
    assert "https://" in kid["hint"]
    assert tree["formats"] == {"fake": {"PNG": 3}, "real": {"PNG": 3}}
    assert "note: " in done.err


def test_missing_weights_are_an_error_where_they_are_required(i2i, folders):
    done = i2i("evaluate", "--fake", "a", "--real", "b", "--metrics", "kid", "--require")
    assert done.status == 2
    assert done.out == ""
    assert done.err.startswith("error: KID")
    assert "\nhint: put https://" in done.err


def test_formats_that_differ_are_warned_about(i2i, folders):
    for file in (folders / "b").iterdir():
        Image.open(file).save(file.with_suffix(".jpg"))
        file.unlink()
    done = i2i("evaluate", "--fake", "a", "--real", "b", "--metrics", "diversity-pixels")
    assert "warning: outputs are PNG and real images JPEG" in done.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "there must be a run, or --fake with one of --real and --target"),
        (["--fake", "a"], "there must be a run, or --fake with one of --real and --target"),
        (["--fake", "a", "--real", "b", "--target", "b"], "there must be a run, or --fake with one of"),
        (["a", "--fake", "a"], "a run is evaluated on its own data"),
        (["--fake", "a", "--real", "b", "--data", "b"], "--data is for a run, and folders are given"),
        (["--fake", "a", "--real", "none"], "there is no folder 'none'"),
        (["--fake", "a", "--real", "b", "--metrics", "kdi"], "--metrics: there is no metric 'kdi'"),
        (["--fake", "a", "--real", "b", "--metrics", ","], "--metrics names no metric"),
        (["--fake", "a", "--real", "b", "--metrics", "kid", "--weights", "none"], "there is no file or folder 'none'"),
        (["--fake", "a", "--target", "b", "--palette", "none"], "cannot read the palette 'none'"),
        (["a", "--direction", "AtoA"], "--direction must be AtoB or BtoA, not 'AtoA'"),
        (["a"], "'a' is not a run"),
        (["--fake", "a", "--real", "b", "--seed", "99999999999999999999"], "invalid value for '--seed'"),
        (["--fake", "a", "--real", "b", "--seed", "-1"], "invalid value for '--seed'"),
    ],
)
def test_what_makes_no_sense_is_one_sentence_and_a_hint(i2i, folders, words, message):
    done = i2i("evaluate", *words)
    assert done.status == 2
    error, hint = done.err.splitlines()
    assert error.startswith(f"error: {message}")
    assert hint.startswith("hint: ")


def test_a_run_is_evaluated_on_what_it_did_not_see(i2i, photos, small):
    (photos / "val").mkdir()
    for file in list((photos / "train").iterdir())[:2]:
        (photos / "val" / file.name).write_bytes(file.read_bytes())
    i2i("train", "pix2pix", "--config", small, "--data", photos)
    done = i2i("evaluate", "runs/pix2pix-photos-001", "--metrics", "l1,psnr", "--json")
    assert [number["n"] for number in json.loads(done.out)["metrics"]] == [2, 2]
    assert done.err.splitlines() == [
        "2 inputs are translated and compared with 2 real images",
        "runs/pix2pix-photos-001/evaluation.json keeps this, runs/pix2pix-photos-001/report.html shows it",
        "next: i2i translate runs/pix2pix-photos-001 FOLDER -o OUT",
    ]
    kept = json.loads((photos.parent / "work/runs/pix2pix-photos-001/evaluation.json").read_text())
    assert kept["metrics"] == json.loads(done.out)["metrics"]
    assert (kept["checkpoint"], kept["data"]) == (None, None)
    assert '"evaluation":{"when"' in (photos.parent / "work/runs/pix2pix-photos-001/report.html").read_text()


def test_a_run_without_held_out_data_says_how_to_give_some(i2i, photos, small):
    i2i("train", "pix2pix", "--config", small, "--data", photos)
    done = i2i("evaluate", "runs/pix2pix-photos-001")
    assert done.status == 2
    assert "hint: i2i evaluate runs/pix2pix-photos-001 --data FOLDER" in done.err


def test_the_help_names_every_metric_family_and_shows_examples(i2i):
    said = " ".join(i2i("evaluate", "--help").out.split())
    assert "--fake" in said
    assert "i2i evaluate runs/pix2pix-facades-001" in said


def test_the_metrics_are_listed_with_what_they_need(i2i):
    done = i2i("evaluate", "--list")
    assert [line.split()[0] for line in done.out.splitlines()] == ["metric", *METRICS]
    assert done.err.startswith("next: ")
    tree = json.loads(i2i("evaluate", "--list", "--json").out)
    assert tree["lpips"]["needs"] == ["pairs", "weights"]
    assert all(row["summary"] and row["better"] in ("lower", "higher", "0.5") for row in tree.values())
