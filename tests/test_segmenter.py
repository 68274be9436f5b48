"""What a segmenter sees: a network that names the colour of each pixel, and counts made by hand."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from i2i import evaluate, segmenter
from i2i.errors import UserError
from i2i.images import ImageError
from i2i.metrics.palettes import class_accuracy, confusion
from i2i.scores import Asked
from i2i.segmenter import VOID, Confusions, Segmenter

COLOURS = ((0, 0, 0), (255, 0, 0), (0, 0, 255))
NAMES = ("seg-accuracy", "seg-class-accuracy", "seg-miou")


def painted(rows) -> torch.Tensor:
    return torch.from_numpy(np.array(COLOURS)[np.array(rows)].astype(np.uint8)).permute(2, 0, 1)


TRUE = [[0, 0, 1, 1], [2, 2, 1, 1]]
OUTPUT = [[0, 1, 1, 1], [2, 2, 0, 1]]


# Counts


def test_the_accuracy_of_classes_has_the_value_computed_by_hand():
    assert class_accuracy(confusion(torch.tensor([0, 1, 1, 1]), torch.tensor([0, 0, 0, 1]), 3)) == pytest.approx(
        (1 / 3 + 1) / 2
    )


@pytest.mark.parametrize("of", segmenter.VALUES)
@pytest.mark.parametrize("ids", [False, True])
def test_counts_are_those_made_by_hand_in_every_scale_of_values(network, of, ids):
    seen = Confusions(Segmenter(network(of=of, ids=ids), of), lambda i: np.array(TRUE), 3)
    seen.add(0, painted(OUTPUT), painted(TRUE))
    found = seen.outcomes()
    assert [found[name].value for name in NAMES] == pytest.approx([6 / 8, (1 / 2 + 3 / 4 + 1) / 3, (1 / 3 + 3 / 5 + 1) / 3])
    assert [(found[name].baseline, found[name].baseline_n) for name in NAMES] == [(1, 1)] * 3
    assert seen.warnings() == []


def test_classes_are_counted_over_the_whole_set_and_not_image_by_image(network):
    maps = [np.zeros((1, 4), int), np.array([[0, 1, 1, 1]])]
    seen = Confusions(Segmenter(network(), "0..255"), maps.__getitem__, 3)
    for i, rows in enumerate([[[0, 0, 0, 1]], [[0, 1, 1, 1]]]):
        seen.add(i, painted(rows), painted(rows))
    assert seen.outcomes()["seg-miou"].value == pytest.approx((4 / 5 + 3 / 4) / 2)


def test_void_does_not_count(network):
    labels = np.array(TRUE)
    labels[np.array(OUTPUT) != labels] = VOID
    seen = Confusions(Segmenter(network(), "0..255"), lambda i: labels, 3)
    seen.add(0, painted(OUTPUT), painted(TRUE))
    assert [outcome.value for outcome in seen.outcomes().values()] == [1, 1, 1]


def test_where_all_is_void_there_is_no_number(network):
    seen = Confusions(Segmenter(network(), "0..255"), lambda i: np.full((2, 4), VOID), 3)
    seen.add(0, painted(OUTPUT), painted(TRUE))
    assert (seen.outcomes(), seen.warnings()) == ({}, [])


def test_a_network_with_a_size_gets_images_and_labels_in_that_size(network):
    fixed = Segmenter(network(shape=(1, 3, 4, 8)), "0..255")
    ids, classes = fixed(painted(np.repeat(np.repeat(TRUE, 4, 0), 4, 1)))
    assert (ids.shape, classes) == ((4, 8), 3)
    seen = Confusions(fixed, lambda i: np.repeat(np.repeat(TRUE, 8, 0), 8, 1), 3)
    seen.add(0, *2 * [painted(np.repeat(np.repeat(TRUE, 8, 0), 8, 1))])
    assert seen.outcomes()["seg-accuracy"].value == 1


def test_a_segmenter_that_fails_on_real_images_is_said_to_mean_little(network):
    wrong = Segmenter(network(of="-1..1"), "0..1")  # it was trained in another scale
    seen = Confusions(wrong, lambda i: np.array(TRUE)[::-1, ::-1], 3)
    seen.add(0, painted(OUTPUT), painted(TRUE))
    (warning,) = seen.warnings()
    assert warning.startswith("the segmenter is poor on real images already (mean IoU 0.")
    assert "check --segmenter-values" in warning


def test_without_real_images_of_the_labels_there_is_nothing_to_compare_with_and_that_is_said(network):
    seen = Confusions(Segmenter(network(), "0..255"), lambda i: np.array(TRUE), 3)
    seen.add(0, painted(OUTPUT), None)
    found = seen.outcomes()["seg-accuracy"]
    assert (found.value, found.baseline, found.baseline_n) == (6 / 8, None, None)
    assert seen.warnings() == ["the real images have no label maps, so that nobody knows how well the segmenter sees"]


# Refusals


@pytest.mark.parametrize(
    "found",
    [
        np.zeros((3, 2, 4), np.float32),  # logits without a batch
        np.zeros((2, 4), np.int64),
        np.full((1, 2, 4), -1, np.int64),
        np.full((1, 2, 4), 0.5, np.float32),
        [np.zeros((1, 2, 4))],
    ],
    ids=["batchless", "flat", "negative", "broken", "sequence"],
)
def test_an_output_that_is_neither_logits_nor_ids_is_refused(network, monkeypatch, found):
    odd = Segmenter(network(), "0..255")
    monkeypatch.setattr(odd, "session", SimpleNamespace(run=lambda *_: [found]))
    with pytest.raises(UserError, match=r"which is no segmentation|no ids of classes") as error:
        odd(painted(TRUE))
    assert error.value.hint == segmenter.CONTRACT


@pytest.mark.parametrize(
    ("classes", "labels", "how", "words"),
    [
        (4, TRUE, {}, "tells 3 classes apart, and the label maps have 4"),
        (None, [[0, 3]], {}, "holds the class 3, and the segmenter knows 0 to 2"),
        (2, [[0, 1]], {"ids": True}, "sees the class 2, and the label maps have 0 to 1"),
    ],
)
def test_other_classes_than_those_of_the_labels_are_refused(network, classes, labels, how, words):
    seen = Confusions(Segmenter(network(**how), "0..255"), lambda i: np.array(labels), classes)
    with pytest.raises(UserError, match=words) as error:
        seen.add(0, painted([[2, 2]]), painted([[2, 2]]))
    assert "in their order" in error.value.hint


@pytest.mark.parametrize(
    ("shape", "kind"),
    [((1, 4, "H", "W"), None), ((2, 3, 8, 8), None), ((1, 3, 8), None), ((1, 3, "H", "W"), 10)],  # 10: half precision
)
def test_a_network_that_takes_something_else_is_refused_with_what_it_takes(network, shape, kind):
    with pytest.raises(UserError, match="the segmenter") as error:
        Segmenter(network(shape=shape, kind=kind or 1))
    assert "(1, 3, H, W)" in error.value.hint


def test_one_class_is_no_segmentation(network):
    with pytest.raises(UserError, match="which is no segmentation"):
        Segmenter(network(colours=COLOURS[:1]), "0..255")(painted(TRUE))


def test_an_image_that_the_network_cannot_take_is_named_by_its_size(network):
    odd = Segmenter(network(), "0..255")
    odd.name = "y"
    with pytest.raises(UserError, match="fails on an image of 4x2: "):
        odd(painted(TRUE))


@pytest.mark.parametrize(
    ("content", "values", "words"),
    [
        (None, "imagenet", "there is no segmenter"),
        (b"no graph", "imagenet", "cannot read the segmenter"),
        (b"", "0-1", "no values '0-1'"),
    ],
)
def test_what_is_no_segmenter_is_refused(tmp_path, content, values, words):
    if content is not None:
        (tmp_path / "n.onnx").write_bytes(content)
    with pytest.raises(UserError, match=words) as error:
        Segmenter(tmp_path / "n.onnx", values)
    assert error.value.hint


def test_without_onnxruntime_it_is_said_what_to_install(network, monkeypatch):
    file = network()
    monkeypatch.setattr(segmenter, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="run by onnxruntime") as error:
        Segmenter(file)
    assert error.value.hint == "pip install 'i2i-toolbox[export]'"


# Folders


def test_folders_are_compared_with_ids_and_with_colours(segmented):
    asked = Asked(NAMES, segmenter=Segmenter(segmented, "0..255"))
    numbers = []
    for labels in (evaluate.Labels(Path("ids")), evaluate.Labels(Path("real"), COLOURS)):
        report = evaluate.two_folders(Path("out"), Path("real"), asked, paired=True, labels=labels)
        numbers.append([(n.outcome.value, n.outcome.baseline, n.weights, len(n.sha256)) for n in report.numbers])
    assert numbers[0] == numbers[1]
    assert numbers[0][0] == (0.75, 1, str(segmented), 64)
    with pytest.raises(ImageError) as error:
        evaluate.two_folders(Path("out"), Path("real"), asked, paired=True, labels=evaluate.Labels(Path("real")))
    assert error.value.hint == "--palette names the colours of the classes"


def test_ids_that_are_named_as_void_do_not_count(segmented):
    asked = Asked(["seg-accuracy"], segmenter=Segmenter(segmented, "0..255"))
    labels = evaluate.Labels(Path("ids"), void=(0,))
    report = evaluate.two_folders(Path("out"), Path("real"), asked, paired=True, labels=labels)
    assert report.numbers[0].outcome.value == 5 / 6
