"""`i2i show`, `i2i methods` and `i2i config`."""

import json

import pytest
import yaml

from i2i import config, models
from i2i.methods import METHODS


def test_methods_are_listed_with_the_data_they_need(i2i):
    done = i2i("methods")
    assert [line.split()[:2] for line in done.out.splitlines()] == [[name, row.data] for name, row in METHODS.items()]
    assert done.err == "next: i2i config pix2pix\n"


def test_methods_come_as_json(i2i):
    assert json.loads(i2i("methods", "--json").out)["cyclegan"]["data"] == "unpaired"


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("preset", [None, "quick", "small"])
def test_a_printed_config_is_a_config_file_with_the_same_values(i2i, tmp_path, method, preset):
    done = i2i("config", method, *(["--preset", preset] if preset else []))
    file = tmp_path / "my.yaml"
    file.write_text(done.out)
    layers = [config.preset(method, preset)] if preset else []
    assert models.configure(method, [config.from_file(file)]) == models.configure(method, layers)
    assert ("# preset" in done.out) == bool(preset)


def test_values_that_yaml_could_misread_survive_the_printed_config(i2i, photos, small, tmp_path):
    odd = photos.rename(
        tmp_path / "it's: a, [long] #folder {name} with   many spaces that is longer than a line can be in YAML off"
    )
    done = i2i(
        "train",
        "pix2pix",
        "--config",
        small,
        "--data",
        odd,
        "--dry-run",
        "--set",
        "train.lr=1e-5",
        "--set",
        "train.player_lr.D=3e-6",
    )
    settings = yaml.safe_load(done.out)
    assert settings["data"]["source"] == str(odd)
    file = tmp_path / "my.yaml"
    file.write_text(done.out)
    again = i2i("train", "pix2pix", "--config", file, "--dry-run")
    assert yaml.safe_load(again.out) == settings


def test_show_tells_where_a_run_stands_and_what_comes_next(i2i, photos, small):
    i2i("train", "pix2pix", "--config", small, "--data", photos)
    done = i2i("show", "runs/pix2pix-photos-001")
    assert "step        2" in done.out
    assert "G/l1" in done.out
    assert done.err.startswith("next: i2i translate runs/pix2pix-photos-001")
    about = json.loads(i2i("show", "runs/pix2pix-photos-001", "--json").out)
    assert (about["step"], about["steps"], about["method"]) == (2, 2, "pix2pix")


def test_show_of_an_unfinished_run_says_how_to_go_on(i2i, photos, small):
    i2i("train", "pix2pix", "--config", small, "--data", photos)
    file = photos.parent / "work" / "runs" / "pix2pix-photos-001" / "config.yaml"
    file.write_text(file.read_text().replace("steps: 2\n", "steps: 4\n"))
    assert i2i("show", "runs/pix2pix-photos-001").err == "next: i2i resume runs/pix2pix-photos-001\n"


def test_show_of_a_run_that_was_shortened_takes_it_as_finished_and_quotes_its_name(i2i, photos, small):
    i2i("train", "pix2pix", "--config", small, "--data", photos, "--out", "my run")
    file = photos.parent / "work" / "my run" / "config.yaml"
    file.write_text(file.read_text().replace("steps: 2\n", "steps: 1\n"))
    assert i2i("show", "my run").err == "next: i2i translate 'my run' FOLDER -o OUT\n"
