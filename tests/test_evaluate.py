"""Folders and runs against real images: what is measured, and what is refused or left out with a reason."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image
from torchvision.models import get_model

from i2i import evaluate, judges, models, runs
from i2i.config import Layer
from i2i.data import scenes
from i2i.errors import UserError
from i2i.images import ImageError
from i2i.judges import Missing
from i2i.metrics import METRICS
from i2i.prepare import prepare
from i2i.scores import Asked, Number, Report, Shot, score
from i2i.segmenter import Segmenter
from i2i.tallies import Distances, Sets
from i2i.training.trainer import Nobody


@pytest.fixture(autouse=True)
def no_weights(tmp_path, monkeypatch) -> None:
    """And a classifier that sees images in a size of which it is done in no time."""
    monkeypatch.setattr(judges, "CLASSIFIER_SIDE", 32)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.delenv("I2I_WEIGHTS", raising=False)


@pytest.fixture(scope="session")
def weights(tmp_path_factory) -> Path:
    """A classifier with random weights."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "squeezenet1_1.safetensors"
    safetensors.torch.save_file(get_model("squeezenet1_1", weights=None).state_dict(), path)
    return path


@pytest.fixture
def folder(tmp_path) -> Callable[..., Path]:
    """`folder("a", 20)`: so many images of noise, the same for the same seed."""

    def make(name: str, count: int = 3, side: int = 20, seed: int = 0, suffix: str = ".png", top: int = 256) -> Path:
        rng = np.random.default_rng(seed)
        (tmp_path / name).mkdir()
        for number in range(count):
            Image.fromarray(rng.integers(0, top, (side, side, 3), np.uint8)).save(tmp_path / name / f"{number}{suffix}")
        return tmp_path / name

    return make


def values(report: Report) -> dict[str, float | None]:
    return {number.metric: number.outcome.value for number in report.numbers}


def only(report: Report) -> Number:
    (number,) = report.numbers
    return number


# Folders


def test_images_against_themselves_are_perfect_and_against_others_are_not(folder) -> None:
    a, b = folder("a"), folder("b", seed=1)
    asked = Asked(["l1", "psnr", "ssim"])
    assert values(evaluate.two_folders(a, a, asked, paired=True)) == {"l1": 0, "psnr": float("inf"), "ssim": pytest.approx(1)}
    numbers = evaluate.two_folders(a, b, asked, paired=True).numbers
    assert numbers[0].outcome.value == pytest.approx(255 / 3, rel=0.1)
    assert numbers[0].outcome.deviation == pytest.approx(0, abs=5)
    # for noise a target of the same name is as far away as another target
    assert numbers[0].outcome.baseline == pytest.approx(numbers[0].outcome.value, rel=0.1)
    assert numbers[0].outcome.baseline_n == 2


def test_names_pair_without_their_suffix_and_who_is_alone_is_named(folder) -> None:
    a, b = folder("a", 2), folder("b", 2, suffix=".jpg")
    assert values(evaluate.two_folders(a, b, Asked(["l1"]), paired=True))["l1"] < 100
    (b / "1.jpg").rename(b / "other.jpg")
    with pytest.raises(UserError, match=r"2 images have no partner, such as '.*a/1.png', '.*b/other.jpg'"):
        evaluate.two_folders(a, b, Asked(), paired=True)


def test_partners_of_two_sizes_are_refused_and_sets_are_not(folder) -> None:
    a, b = folder("a"), folder("b", side=24)
    with pytest.raises(UserError, match="'0' has 20x20 pixels, and its target differs with 24x24, and so do 2 others"):
        evaluate.two_folders(a, b, Asked(), paired=True)
    assert only(evaluate.two_folders(a, b, Asked(["diversity-pixels"]), paired=False)).outcome.value


def test_too_few_images_give_a_reason_instead_of_a_number(folder, weights) -> None:
    report = evaluate.two_folders(folder("a"), folder("b"), Asked(weights=[weights]), paired=False)
    by_name = {number.metric: number.outcome for number in report.numbers}
    assert set(by_name) == {name for name, metric in METRICS.items() if metric.kind == "sets" and metric.usual}
    for name, outcome in by_name.items():
        assert (outcome.value is None) == (METRICS[name].least > 3)
        assert outcome.value is not None or outcome.reason == (
            f"n=3 is too few to mean anything: it needs {METRICS[name].least} on each side"
        )


def test_too_small_images_give_a_reason_instead_of_a_number(folder, weights) -> None:
    asked = Asked(["ssim", "ms-ssim", "lpips", "swd"], weights=[weights])
    report = evaluate.two_folders(folder("a", 16, side=10), folder("b", 16, side=10, seed=1), asked, paired=True)
    assert [number.outcome.reason for number in report.numbers] == [
        *(f"the smallest image has a side of 10 pixels: it needs {least}" for least in (11, 161, 17)),
        "the smallest image has a side of less than 16 pixels",
    ]


def test_two_halves_of_one_set_look_alike_to_every_metric_and_copies_do_not(folder, weights) -> None:
    names = ["kid", "precision", "coverage", "1nn", "1nn-pixels", "swd", "birthday"]
    asked = Asked(names, weights=[weights])
    real, other = folder("real", 50, 32), folder("other", 50, 32, seed=1)
    found = {n.metric: n.outcome for n in evaluate.two_folders(other, real, asked, paired=False).numbers}
    assert abs(found["kid"].value) < 3 * found["kid"].deviation
    assert all(abs(found[name].value - 0.5) < 0.2 for name in ("1nn", "1nn-pixels"))
    assert found["birthday"].value == 0
    assert all(found[name].baseline_n == 25 and found[name].at_baseline_n is not None for name in names)
    assert found["swd"].value == pytest.approx(found["swd"].baseline, rel=0.5)
    copies = values(evaluate.two_folders(real, real, asked, paired=False))
    assert (copies["1nn"], copies["1nn-pixels"], copies["precision"], copies["coverage"]) == (0, 0, 1, 1)


def test_each_number_says_what_it_rests_on(folder, weights) -> None:
    asked = Asked(["kid", "fid", "fid-legacy", "1nn-pixels"], weights=[weights])
    report = evaluate.two_folders(folder("a", 100, 16), folder("b", 101, 16, suffix=".jpg"), asked, paired=False)
    kid, fid, old, pixels = report.numbers
    assert (kid.name, kid.n, kid.n_real, len(kid.sha256 or "")) == ("kid (squeezenet1_1)", 100, 101, 64)
    assert fid.resize == "bicubic with antialiasing to 32"
    assert old.resize == "TensorFlow 1 bilinear, no antialiasing to 32"
    assert fid.outcome.value != old.outcome.value
    assert "biased at n=100" in (fid.note or "")
    assert (pixels.name, pixels.weights) == ("1nn-pixels", None)
    assert report.formats == {"fake": {"PNG": 100}, "real": {"JPEG": 101}}
    assert "outputs are PNG and real images JPEG" in report.warnings[0]


def test_without_weights_the_reason_stands_there_with_what_to_fetch(folder) -> None:
    a = folder("a", 50)
    report = evaluate.two_folders(a, a, Asked(["kid", "lpips", "l1"]), paired=True)
    assert [number.outcome.value for number in report.numbers] == [None, None, 0]
    assert all("https://" in (number.outcome.hint or "") for number in report.numbers[:2])
    with pytest.raises(Missing, match="KID"):
        evaluate.two_folders(a, a, Asked(["kid", "l1"], require=True), paired=True)


def test_what_does_not_apply_says_why(folder) -> None:
    a = folder("a")
    report = evaluate.two_folders(a, a, Asked(["l1", "palette-miou", "styles-pixels"]), paired=False)
    assert all(number.outcome.value is None and number.outcome.reason for number in report.numbers)


def test_painted_label_maps_are_counted_over_the_whole_set(tmp_path) -> None:
    palette = torch.tensor([[0, 0, 0], [255, 0, 0]])
    for name, rows in (("fake", [[0, 0], [0, 250]]), ("true", [[0, 0], [255, 255]])):
        (tmp_path / name).mkdir()
        red = np.array(rows, np.uint8)
        Image.fromarray(np.dstack([red, 0 * red, 0 * red])).save(tmp_path / name / "x.png")
    asked = Asked(["palette-accuracy", "palette-miou"], palette=palette)
    report = evaluate.two_folders(tmp_path / "fake", tmp_path / "true", asked, paired=True)
    assert values(report) == {"palette-accuracy": 0.75, "palette-miou": pytest.approx((2 / 3 + 1 / 2) / 2)}


def test_deeper_and_grey_images_are_looked_at_as_8_bit_colour(tmp_path) -> None:
    for name, array in (("a", np.full((4, 4), 257 * 100, np.uint16)), ("b", np.full((4, 4), 90, np.uint8))):
        (tmp_path / name).mkdir()
        Image.fromarray(array).save(tmp_path / name / "x.png")
    assert only(evaluate.two_folders(tmp_path / "a", tmp_path / "b", Asked(["l1"]), paired=True)).outcome.value == 10


def test_floats_have_no_known_scale_and_are_refused_by_name(tmp_path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Image.fromarray(np.ones((4, 4), np.float32)).save(tmp_path / name / "x.tif")
    with pytest.raises(ImageError, match=r"cannot measure '.*a/x.tif': the image has float values"):
        evaluate.two_folders(tmp_path / "a", tmp_path / "b", Asked(["l1"]), paired=True)


def test_the_same_seed_gives_the_same_numbers(folder, weights) -> None:
    a, b = folder("a", 50, 16), folder("b", 50, 16, seed=1, top=200)
    first, again, other = (
        values(evaluate.two_folders(a, b, Asked(["kid", "swd", "birthday"], weights=[weights], seed=seed), paired=False))
        for seed in (0, 0, 1)
    )
    assert first == again
    assert first["swd"] != other["swd"]
    assert first["kid"] == other["kid"]  # of the whole sets; only its deviation is drawn


@pytest.mark.parametrize(("distances", "expected"), [([1, 3], 2), ([1, float("inf")], float("inf")), ([1, float("nan")], None)])
def test_a_mean_is_infinite_where_a_distance_is_and_a_reason_where_one_is_no_number(distances, expected) -> None:
    tally = Distances(["l1"], {}, 4)
    tally.functions["l1"] = lambda a, b: a
    tally.add([(torch.tensor(float(d)).expand(1), torch.zeros(1)) for d in distances], [])
    outcome = tally.outcomes()["l1"]
    assert outcome.value == expected
    assert (outcome.reason is None) == (expected is not None)


def test_real_against_real_is_of_every_part_where_outputs_are_fewer_and_all_are_in_order_of_class() -> None:
    def ordered(n: int, seed: int) -> torch.Tensor:
        noise = torch.randint(0, 100, (2 * n, 3, 32, 32), generator=torch.Generator().manual_seed(seed))
        noise[n:] += 150
        return noise.byte()

    found = []
    for seed in range(8):  # of one draw alone the deviation is 0.08
        sets, fake = Sets(["1nn-pixels"], {}, (40, 160), 32), ordered(20, 2 * seed)
        for i, real in enumerate(ordered(80, 2 * seed + 1)):
            sets.add(fake[i] if i < 40 else None, real)
        found.append(sets.outcomes()["1nn-pixels"])
    assert found[0].baseline_n == 40
    means = [np.mean([getattr(one, name) for one in found]) for name in ("value", "baseline", "at_baseline_n")]
    assert means == pytest.approx([0.5] * 3, abs=0.1)


def test_too_small_outputs_of_one_input_give_a_reason_instead_of_a_number(weights) -> None:
    shots = [Shot(str(n), lambda n=n: torch.full((3, 12, 12), 9 * n, dtype=torch.uint8), (12, 12), "PNG") for n in range(3)]
    asked = Asked(["styles-lpips", "styles-pixels"], weights=[weights])
    report = score(shots, shots, asked, matched=False, styles=lambda i: [shot.load() for shot in shots])
    assert report.numbers[0].outcome.reason == "the smallest image has a side of 12 pixels: it needs 17"
    assert values(report)["styles-pixels"] == 9


# Runs


@pytest.fixture
def run(tmp_path) -> Callable[..., Path]:
    """`run("pix2pix")`: a run of one step on a few scenes, four of them held out."""

    def train(method: str, layout: str = "paired", **model: object) -> Path:
        data, out = tmp_path / f"data-{layout}", tmp_path / f"run-{method}"
        if not data.exists():
            scenes.make(data, layout, 40, 32)
        small = model if method == "crn" else {"discriminator": {"layers": 1, "width": 4}, **model}
        train = {"steps": 1, "device": "cpu", "precision": "fp32", "samples": 1}
        layer = Layer("test", {"model": small, "data": {"source": str(data), "size": 32}, "train": train})
        prepared = prepare(models.configure(method, [layer]))
        runs.create(prepared, out, "x")
        for _, trainer in runs.trainers(out, prepared, Nobody()):
            trainer.run()
        return out

    return train


UNET = {"generator": {"depth": 3, "width": 4}}


def test_a_run_is_measured_on_the_pairs_that_it_did_not_see(run, tmp_path) -> None:
    from i2i.translate import Translator

    folder = run("pix2pix", **UNET)
    report = evaluate.a_run(folder, Asked(["l1", "ssim"]))
    assert [(number.n, number.n_real) for number in report.numbers] == [(4, 4), (4, 4)]
    errors = []
    for file in sorted((tmp_path / "data-paired" / "val").iterdir()):
        both = np.asarray(Image.open(file))
        made = Translator.open(folder, "cpu").translate(both[:, :32]).array
        errors.append(np.abs(made.astype(float) - both[:, 32:]).mean())
    assert report.numbers[0].outcome.value == pytest.approx(np.mean(errors), rel=1e-9)
    assert report.formats["fake"] == {"PNG": 4}


def test_a_run_without_pairs_is_measured_as_sets_in_either_direction(run) -> None:
    folder = run("cyclegan", "unpaired", generator={"blocks": 1, "width": 4})
    there, back = (evaluate.a_run(folder, Asked(["diversity-pixels", "l1"]), direction=way) for way in (None, "BtoA"))
    assert there.numbers[1].outcome.value is None
    assert there.numbers[0].outcome.value != back.numbers[0].outcome.value


def test_a_run_on_label_maps_with_instances_is_measured(run) -> None:
    small = {"generator": {"width": 4, "halvings": 2, "blocks": 1}, "lambda_perceptual": 0}
    assert only(evaluate.a_run(run("pix2pixhd", "labels", **small), Asked(["l1"]))).outcome.value > 0


def test_of_a_method_with_few_styles_each_input_is_measured_once(run) -> None:
    folder = run("crn", "labels", modules=3, width=0.01, images=2, lambda_perceptual=0, lambda_l1=1)
    found = {number.metric: number.outcome for number in evaluate.a_run(folder, Asked(["l1", "styles-pixels"])).numbers}
    assert found["l1"].value > 0
    assert found["styles-pixels"].value is None  # 20 styles are what the protocol compares


def test_a_segmenter_is_asked_about_the_label_maps_that_went_in(run, network) -> None:
    small = {"generator": {"width": 4, "halvings": 2, "blocks": 1}, "lambda_perceptual": 0}
    folder = run("pix2pixhd", "labels", **small)
    classes = runs.saved_config(folder).data.x.classes
    asked = Asked(segmenter=Segmenter(network(colours=[(9 * i, 0, 0) for i in range(classes)])))
    found = {number.metric: number for number in evaluate.a_run(folder, asked).numbers}
    assert {name for name, metric in METRICS.items() if metric.kind == "segments"} <= found.keys()
    assert 0 <= found["seg-miou"].outcome.value <= 1
    assert found["seg-miou"].outcome.baseline_n == 4
    with pytest.raises(UserError, match=f"tells 3 classes apart, and the label maps have {classes}"):
        evaluate.a_run(folder, Asked(segmenter=Segmenter(network())))


def test_a_segmenter_that_looks_at_outputs_without_partners_is_not_asked_about_real_images(run, network) -> None:
    folder = run("cyclegan", "unpaired", generator={"width": 4, "blocks": 1})
    asked = Asked(["seg-accuracy"], palette=torch.tensor([[0, 0, 0], [255, 0, 0], [0, 0, 255]]), segmenter=Segmenter(network()))
    report = evaluate.a_run(folder, asked)
    assert only(report).outcome.value > 0
    assert only(report).outcome.baseline is None
    assert "nobody knows how well the segmenter sees" in report.warnings[0]


def test_inputs_that_paint_classes_are_label_maps_once_their_palette_is_given(run, network) -> None:
    folder, segmenter = run("pix2pix", **UNET), Segmenter(network())
    with pytest.raises(UserError, match="are no label maps"):
        evaluate.a_run(folder, Asked(segmenter=segmenter))
    palette = torch.tensor([[0, 0, 0], [255, 0, 0], [0, 0, 255]])
    assert values(evaluate.a_run(folder, Asked(["seg-accuracy"], palette=palette, segmenter=segmenter)))["seg-accuracy"] > 0


def test_many_outputs_of_one_input_are_compared_with_each_other(run, weights) -> None:
    folder = run("bicyclegan", z=3, encoder={"blocks": 2, "width": 4}, initial={"gain": 1.0}, **UNET)
    report = evaluate.a_run(folder, Asked(["styles-pixels", "styles-lpips"], weights=[weights]))
    for number in report.numbers:
        assert number.outcome.value > 0
        assert number.outcome.details == {"pairs": 4 * 19}
        assert number.outcome.baseline_n == 3
    assert report.numbers[1].name == "styles-lpips (squeeze)"
    assert "styles-pixels" in values(evaluate.a_run(folder, Asked()))


def test_a_method_with_one_output_has_no_styles_to_compare(run) -> None:
    report = evaluate.a_run(run("pix2pix", **UNET), Asked())
    assert set(values(report)) == {name for name, m in METRICS.items() if m.kind in ("pairs", "sets") and m.usual}


def test_a_checkpoint_is_chosen_by_name_or_step(run) -> None:
    folder = run("pix2pix", **UNET)
    assert values(evaluate.a_run(folder, Asked(["l1"]), which="last")) == values(
        evaluate.a_run(folder, Asked(["l1"]), which="1")
    )
    for which in ("7", "first"):
        with pytest.raises(UserError, match=f"has no checkpoint '{which}'") as caught:
            evaluate.a_run(folder, Asked(["l1"]), which=which)
        assert "has the steps 1" in caught.value.hint
    assert evaluate.a_run(folder, Asked(["l1"]), which="best").numbers
    (folder / "checkpoints" / "best").unlink()
    with pytest.raises(UserError, match="has no checkpoint 'best'"):
        evaluate.a_run(folder, Asked(["l1"]), which="best")


def test_data_without_a_held_out_part_must_be_given_and_is_then_taken_whole(run, tmp_path) -> None:
    folder = run("pix2pix", **UNET)
    for file in (tmp_path / "data-paired" / "val").iterdir():
        file.unlink()
    (tmp_path / "data-paired" / "val").rmdir()
    with pytest.raises(UserError, match="no held-out part"):
        evaluate.a_run(folder, Asked(["l1"]))
    assert only(evaluate.a_run(folder, Asked(["l1"]), data=str(tmp_path / "data-paired"))).n == 40
