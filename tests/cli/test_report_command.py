"""`i2i report`: a run, a folder of runs, and what is neither."""

import json
import re

import pytest
import yaml

from i2i.report import page


@pytest.fixture
def trained(i2i, photos, small):
    i2i("train", "pix2pix", "--config", small, "--data", photos, "--set", "train.sample_every=1")
    return photos.parent / "work" / "runs" / "pix2pix-photos-001"


def test_a_page_is_written_into_the_run_and_its_path_printed(i2i, trained):
    done = i2i("report", "runs/pix2pix-photos-001")
    assert done.out == "runs/pix2pix-photos-001/report.html\n"
    assert done.err == "next: i2i show runs/pix2pix-photos-001\n"
    assert "pix2pix-photos-001" in (trained / "report.html").read_text()


def test_the_page_is_there_while_a_run_trains_and_follows_it(i2i, photos, small, monkeypatch):
    written, write = [], page.write
    monkeypatch.setattr(page, "write", lambda *given: written.append(stands(write(*given))))
    more = ("--set", "train.sample_every=1", "--set", "train.steps=3")
    i2i("train", "pix2pix", "--config", small, "--data", photos, "--out", "r", *more)
    assert [step for step, _ in written] == sorted(step for step, _ in written)
    assert {state for _, state in written[:-1]} == {"running"}
    assert written[-1] == (3, "finished")


def stands(file):
    about = json.loads(re.search(r'id="data">(.*?)</script>', file.read_text(), re.DOTALL)[1])["about"]
    return about["step"], about["state"]


@pytest.mark.parametrize("words", [["runs"], []])
def test_a_folder_of_runs_gets_a_list_and_each_run_its_page(i2i, trained, words):
    done = i2i("report", *words)
    assert done.out == "runs/report.html\n"
    assert done.err == "wrote runs/pix2pix-photos-001/report.html\nnext: i2i report runs/RUN\n"
    assert (trained / "report.html").exists()


def test_what_is_neither_is_refused(i2i, photos):
    done = i2i("report", photos)
    assert done.status == 2
    assert done.err.splitlines() == [
        f"error: '{photos}' is no run, and there is none in it",
        "hint: i2i report RUN, or the folder that holds the runs",
    ]


def test_the_config_of_a_run_says_where_its_values_came_from_and_still_works_as_one(i2i, trained):
    sources = yaml.safe_load((trained / "config.yaml").read_text())["made_with"]["sources"]
    assert (sources["train.sample_every"], sources["data.source"]) == ("--set", "the data")
    assert "small.yaml" in sources["train.steps"]
    assert "train.lr" not in sources
    assert i2i("train", "pix2pix", "--config", trained / "config.yaml", "--dry-run").status == 0
    assert i2i("resume", trained).status == 0
