"""Sheets become cells: each alone, what does not change once, few steps, and never too many bytes."""

import base64
import io
import os
from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image

from i2i.methods import METHODS
from i2i.report import pictures
from i2i.training import cells


def pixels(uri: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("RGB"))


def test_small_cells_keep_every_value(tmp_path, paint):
    paint(tmp_path, 0, ("input", "output"))
    tree = pictures.read(tmp_path)
    sheet = cells.read(tmp_path / "samples" / "step-000000000.png")
    numbers = tree["steps"][0]["cells"]["output"]
    for number, cell in zip(numbers, sheet["output"], strict=True):
        assert (pixels(tree["images"][number]) == np.asarray(cell)).all()


def test_what_is_given_is_there_once_and_what_is_made_at_every_step(tmp_path, paint):
    for step in range(5):
        paint(tmp_path, step, ("input", "output", "target"))
    tree = pictures.read(tmp_path)
    assert len(tree["images"]) == 2 * (1 + 5 + 1)
    assert tree["given"] == ["input", "target"]


def test_the_first_the_last_and_the_best_are_always_there(tmp_path, paint):
    for step in range(0, 1010, 10):
        paint(tmp_path, step, ("output",), rows=1, side=8)
    steps = [one["step"] for one in pictures.read(tmp_path, [334])["steps"]]
    assert (steps[0], steps[-1]) == (0, 1000)
    assert 330 in steps
    assert len(steps) <= 34
    assert {b - a for a, b in pairwise(steps)} <= {40, 10, 30}


def test_a_run_that_grows_shows_steps_that_it_has_shown(tmp_path):
    sheets = [(step, tmp_path) for step in range(500)]
    for count in range(2, 500):
        before, now = (pictures._thinned(sheets[:n], [], 32)[:-1] for n in (count - 1, count))
        assert len([one for one in now if one not in before]) <= 1


def test_large_pictures_are_made_to_fit(tmp_path, paint, monkeypatch):
    monkeypatch.setattr(pictures, "BUDGET", 60_000)
    for step in range(20):
        paint(tmp_path, step, ("input", "output"), rows=2, side=96)
    tree = pictures.read(tmp_path)
    assert sum(len(base64.b64decode(uri.partition(",")[2])) for uri in tree["images"]) <= 60_000
    assert [tree["steps"][i]["step"] for i in (0, -1)] == [0, 19]


def test_a_sheet_is_encoded_once_unless_its_file_changes(tmp_path, paint, monkeypatch):
    calls = []
    read = cells.read
    monkeypatch.setattr(cells, "read", lambda path: calls.append(path) or read(path))
    paint(tmp_path, 0, ("output",))
    cache = pictures.Cache()
    for _ in range(3):
        pictures.read(tmp_path, cache=cache)
    assert len(calls) == 1
    os.utime(tmp_path / "samples" / "step-000000000.png", (1, 1))
    pictures.read(tmp_path, cache=cache)
    assert len(calls) == 2


def test_a_sheet_of_before_is_shown_whole(tmp_path):
    (tmp_path / "samples").mkdir()
    Image.new("RGB", (50, 40), "red").save(tmp_path / "samples" / "step-000000007.png")
    (tmp_path / "samples" / "notes.png").write_text("not ours")
    tree = pictures.read(tmp_path)
    assert tree["steps"] == [{"step": 7, "cells": {"sheet": [0]}}]
    assert pixels(tree["images"][0]).shape == (40, 50, 3)


@pytest.mark.parametrize(
    "expected",
    [
        [["input", "output", "target"]],
        [["input", "boundaries", "output", "target"]],
        [["x", "G(x)", "F(G(x))"], ["y", "F(y)", "G(F(y))"]],
        [["input", "target", "encoded"], ["random 1", "random 2", "random 3", "random 4"]],
        [["synthetic", "refined", "real"]],
        [["input", "output", "output 2", "output 3", "target"]],
        [["sheet"]],
    ],
)
def test_columns_that_belong_together_are_a_block(expected):
    assert pictures.blocks([name for block in expected for name in block]) == expected


@pytest.mark.parametrize("method", METHODS)
def test_what_a_method_shows_of_its_data_is_known_to_be_given(tiny, pair, method):
    batch = pair(batch=2)
    sheet = tiny(method).eval().sheet(batch)
    given = {name for name, images in sheet.items() if any(torch.equal(images, side) for side in batch[:2])}
    assert given == sheet.keys() & set(pictures.GIVEN)
