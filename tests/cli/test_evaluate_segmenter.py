"""`i2i evaluate --segmenter`: what it prints, and what it refuses."""

import json

import pytest


def test_the_command_prints_what_is_seen_in_outputs_beside_what_is_seen_in_real_images(i2i, segmented):
    words = ["--fake", "out", "--target", "real", "--labels", "ids", "--segmenter", "n.onnx", "--segmenter-values", "0..255"]
    done = i2i("evaluate", *words, "--metrics", "seg-accuracy,seg-miou")
    assert done.status == 0
    assert done.out.splitlines()[3].split()[:6] == ["seg-accuracy", "0.75", "higher", "1", "1", "1"]
    tree = json.loads(i2i("evaluate", *words, "--json").out)
    assert {number["metric"] for number in tree["metrics"]} >= {"seg-accuracy", "seg-class-accuracy", "seg-miou"}
    assert "palette-miou" not in {number["metric"] for number in tree["metrics"]}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--fake out --target real --labels ids", "--labels is for a segmenter"),
        ("--fake out --target real --segmenter n.onnx", "a segmenter is compared with label maps, and there are none"),
        ("--fake out --real real --segmenter n.onnx --labels ids", "--labels goes with --fake and --target"),
        ("run --segmenter n.onnx --labels ids", "--labels goes with --fake and --target"),
        ("--fake out --target real --segmenter n.onnx --labels ids --void none", "--void takes ids, not 'none'"),
        ("--fake out --target real --segmenter n.onnx --labels ids --segmenter-values 1", "a segmenter takes no values '1'"),
        ("--fake out --target real --segmenter no.onnx --labels ids", "there is no segmenter 'no.onnx'"),
    ],
)
def test_what_makes_no_sense_is_refused(i2i, segmented, words, message):
    done = i2i("evaluate", *words.split())
    assert (done.status, done.out) == (2, "")
    assert done.err.startswith(f"error: {message}")


def test_without_a_segmenter_its_numbers_have_a_reason(i2i, segmented):
    done = i2i("evaluate", "--fake", "out", "--target", "real", "--metrics", "seg-miou")
    assert "none: it compares what a segmenter sees with label maps" in done.out
    assert "--segmenter FILE.onnx" in done.err
