"""Curves: few points, the extremes among them."""

import numpy as np

from i2i.report.curves import POINTS, curve, names


def test_a_short_log_keeps_every_point():
    rows = [{"step": 1, "G/l1": 0.123456}, {"step": 2}, {"step": 3, "G/l1": 2}]
    assert curve(rows, "G/l1") == {"x": [1, 3], "y": [0.12346, 2]}
    assert curve([], "G/l1") == {"x": [], "y": []}


def test_a_long_log_loses_no_spike_and_neither_end():
    values = np.random.default_rng(0).random(10_000)
    values[[1234, 8765]] = 50, -50
    found = curve([{"step": i, "G/l1": value} for i, value in enumerate(values)], "G/l1")
    assert len(found["x"]) <= POINTS
    assert (found["x"][0], found["x"][-1]) == (0, 9999)
    assert (max(found["y"]), min(found["y"])) == (50, -50)
    assert found["x"] == sorted(found["x"])


def test_names_come_in_the_order_of_the_log():
    rows = [{"step": 1, "G/l1": 1, "D/real": 2}, {"step": 1, "val/ssim": 1, "epoch": 1}]
    assert names(rows) == ["G/l1", "D/real", "val/ssim"]
    assert names(rows, "val/", "train/") == ["val/ssim"]
