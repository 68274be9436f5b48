"""From data to settings: what is chosen for which data, whether `train` takes it, and what is said."""

import contextlib
import gc
import sys
import weakref
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from i2i import advice
from i2i import plan as planning
from i2i.config import Config, Layer, parse
from i2i.data import scenes
from i2i.errors import OutOfResources, UserError
from i2i.images import Picture, write
from i2i.measure import Cost
from i2i.models import configure
from i2i.plan import Plan, clock, plan, seconds_of
from i2i.prepare import prepare

GB = 10**9


@pytest.fixture
def costs(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list]:
    """`costs(9.0, 0.1)`: what the rungs cost, in seconds a step, one after the other; the list gets what was measured."""

    def set_to(*steps: float, memory: int = GB, reading: float = 0.001) -> list:
        left, seen = list(steps), []

        def measure(prepared, hopeless=0.0):
            seen.append(prepared.config)
            return Cost(left.pop(0) if len(left) > 1 else left[0], reading, memory, 8 * GB)

        monkeypatch.setattr(planning, "measure", measure)
        return seen

    set_to(0.01)
    return set_to


def save(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def texture(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def drawn(texture: np.ndarray) -> np.ndarray:
    """The same picture, much plainer: bright halves of it."""
    coarse = texture[::16, ::16].repeat(16, 0).repeat(16, 1)
    return np.where(coarse > 127, 200, 50).astype(np.uint8)


def pairs(root: Path, count: int = 4, size: int = 64) -> Path:
    for i in range(count):
        save(root / "train" / f"{i}.png", np.hstack([texture(i, size, size, 3), texture(i + 100, size, size, 3)]))
    return root


def load(text: str) -> Config:
    """The configuration that a plan's text is."""
    tree = parse(text, "the plan")
    return configure(tree["method"], [Layer("the plan", tree)])


def accepted(made: Plan, tmp_path: Path) -> None:
    """`train` would take the settings, and has the same."""
    config = load(made.text())
    prepare(config, decode=False)
    values = {key: choice.value for key, choice in made.choices.items()}
    tree = config.tree()
    for key, value in values.items():
        node = tree
        for name in key.split("."):
            node = node[name]
        if isinstance(value, dict):
            assert {name: node[name] for name in value} == value
        else:
            assert node == value, key


# The method


@pytest.mark.parametrize(
    ("layout", "method"), [("unpaired", "cyclegan"), ("labels", "pix2pixhd"), ("simreal", "simgan"), ("paired", "pix2pix")]
)
def test_scenes_of_each_layout_get_their_method_and_settings_that_train_takes(tmp_path, costs, layout, method) -> None:
    scenes.make(tmp_path / "s", layout, 3, 64)
    made = plan(str(tmp_path / "s"))
    assert made.method == method
    assert made.facts.held_out == (0 if layout == "simreal" else 1)
    accepted(made, tmp_path)


@pytest.mark.parametrize("method", ["pix2pix", "pix2pixhd", "bicyclegan", "crn", "cyclegan"])
@pytest.mark.parametrize("size", [28, 48, 128, 300])
def test_every_method_gets_settings_that_train_takes_on_images_of_every_size(tmp_path, costs, method, size) -> None:
    scenes.make(tmp_path / "s", "labels" if method == "crn" else "paired", 2, size)
    for steps in ([0.001], [9.0, 0.001], [9.0]):
        costs(*steps)
        accepted(plan(str(tmp_path / "s"), method=method), tmp_path)


def test_numbered_images_that_are_no_pairs_are_not_taken_for_pairs(tmp_path, costs) -> None:
    for i in range(30):
        save(tmp_path / "A" / f"{i:03d}.png", texture(i, 32, 32, 3))
        save(tmp_path / "B" / f"{i:03d}.png", texture(i + 500, 32, 32, 3))
    made = plan(str(tmp_path))
    assert made.method == "cyclegan"
    assert "these are no pairs" in made.why
    asked = plan(str(tmp_path), method="pix2pix")
    assert asked.method == "pix2pix"
    assert any("are these pairs?" in concern for concern in asked.concerns)


@pytest.mark.parametrize("alike", [True, False])
def test_a_partner_that_is_missing_counts_only_among_pairs(tmp_path, costs, alike) -> None:
    for i in range(30):
        one = texture(i, 32, 32, 3)
        save(tmp_path / "A" / f"{i:03d}.png", one)
        if i:
            save(tmp_path / "B" / f"{i:03d}.png", 255 - one // 2 if alike else texture(i + 500, 32, 32, 3))
    concerns = plan(str(tmp_path), method="pix2pix").concerns
    assert any("1 file lacks a partner" in concern for concern in concerns) is alike


def test_an_input_with_several_outputs_asks_for_bicyclegan(tmp_path, costs) -> None:
    for i in range(6):
        save(tmp_path / f"b{i}.png", texture(i, 64, 64, 3))
        save(tmp_path / f"a{i}.png", texture(i // 3, 64, 64, 3))
    (tmp_path / "set.csv").write_text("A,B\n" + "".join(f"a{i}.png,b{i}.png\n" for i in range(6)))
    made = plan(str(tmp_path / "set.csv"))
    assert made.method == "bicyclegan"
    assert "3.0 different outputs" in made.why
    accepted(made, tmp_path)


def test_unequal_counts_without_common_names_are_two_domains(tmp_path, costs) -> None:
    for i in range(5):
        save(tmp_path / "trainA" / f"horse{i}.png", texture(i, 40, 40, 3))
    for i in range(2):
        save(tmp_path / "trainB" / f"zebra{i}.png", texture(i, 40, 40, 3))
    made = plan(str(tmp_path))
    assert (made.method, made.facts.a.images, made.facts.b.images) == ("cyclegan", 5, 2)
    accepted(made, tmp_path)


# Settings that the data asks for


def test_the_drawing_of_a_pair_is_the_input(tmp_path, costs) -> None:
    for i in range(4):
        photo = texture(i, 64, 64, 3)
        save(tmp_path / "train" / f"{i}.png", np.hstack([photo, drawn(photo)]))
    made = plan(str(tmp_path))
    assert made.choices["data.direction"].value == "BtoA"
    assert "B is a drawing beside A" in made.choices["data.direction"].reason
    assert "data.direction" not in plan(str(tmp_path), direction="AtoB").choices
    accepted(made, tmp_path)


def test_grey_ids_beside_photos_are_a_label_map_also_on_side_b(tmp_path, costs) -> None:
    for i in range(3):
        save(tmp_path / "A" / f"{i}.png", texture(i, 64, 64, 3))
        save(tmp_path / "B" / f"{i}.png", texture(i, 64, 64) % 5)
    made = plan(str(tmp_path))
    assert made.method == "pix2pixhd"
    assert made.choices["data.labels"].value is True
    assert str(made.facts.labels) == "label map of 5 classes"
    assert prepare(load(made.text()), decode=False).config.data.x == made.facts.labels


def test_twelve_bits_in_sixteen_keep_their_range(tmp_path, costs) -> None:
    for i in range(3):
        save(tmp_path / "A" / f"{i}.png", texture(i, 64, 64).astype(np.uint16) * 16)
        save(tmp_path / "B" / f"{i}.png", texture(i + 9, 64, 64))
    made = plan(str(tmp_path))
    assert made.choices["data.x"].value == {"channels": 1, "dtype": "uint16", "high": 4095}
    assert "data.y" not in made.choices
    assert not [concern for concern in made.concerns if "nearly black" in concern]
    accepted(made, tmp_path)


def test_sides_of_other_channels_have_no_identity_loss(tmp_path, costs) -> None:
    for i in range(3):
        save(tmp_path / "A" / f"a{i}.png", texture(i, 40, 40))
        save(tmp_path / "B" / f"b{i}.png", texture(i, 40, 40, 3))
    made = plan(str(tmp_path))
    assert made.choices["model.lambda_identity"].value == 0
    accepted(made, tmp_path)


def test_few_images_are_augmented_but_not_in_the_colours_that_tell_sides_apart(tmp_path, costs) -> None:
    for i in range(3):
        save(tmp_path / "A" / f"a{i}.png", texture(i, 40, 40, 3) // 2)
        save(tmp_path / "B" / f"b{i}.png", 255 - texture(i, 40, 40, 3) // 2)
    choice = plan(str(tmp_path)).choices["model.gan.augment"]
    assert choice.value == ["translation"]
    assert "3 images on a side" in choice.reason


def test_images_that_are_not_square_keep_their_shape(tmp_path, costs) -> None:
    for i in range(3):
        save(tmp_path / "A" / f"a{i}.png", texture(i, 64, 128, 3))
        save(tmp_path / "B" / f"b{i}.png", texture(i, 64, 100, 3))
    assert plan(str(tmp_path)).choices["data.resize"].value == "shorter"


def test_mixed_sizes_are_planned_for_the_smaller_ones(tmp_path, costs) -> None:
    for i, size in enumerate((256, 90, 70)):
        save(tmp_path / "A" / f"a{i}.png", texture(i, size, size, 3))
        save(tmp_path / "B" / f"b{i}.png", texture(i, 256, 256, 3))
    made = plan(str(tmp_path))
    assert made.choices["data.size"].value == 64
    assert "about 90x90" in made.text()


def test_many_channels_and_floats_are_planned(tmp_path, costs) -> None:
    for i in range(3):
        values = np.random.default_rng(i).normal(0, 50, (40, 40, 5)).astype(np.float32)
        for side in "AB":
            (tmp_path / side).mkdir(exist_ok=True)
            write(tmp_path / side / f"{i}.tif", Picture(values))
    made = plan(str(tmp_path))
    assert made.choices["model.gan.augment"].value == ["translation"]
    assert "float with 5 channels" in made.text()
    accepted(made, tmp_path)
    assert plan(str(tmp_path), method="pix2pixhd").choices["model.lambda_perceptual"].value == 0


def test_halves_that_are_not_alike_are_asked_about(tmp_path, costs) -> None:
    made = plan(str(pairs(tmp_path, 20, 32)))
    assert made.method == "pix2pix"
    assert any("are these pairs?" in concern for concern in made.concerns)


def test_perceptual_terms_are_taken_where_their_weights_and_a_gpu_are(tmp_path, costs) -> None:
    scenes.make(tmp_path / "s", "labels", 2, 64)
    facts = plan(str(tmp_path / "s")).facts
    with_weights = {rung.name: rung.choices for rung in advice.rungs(facts, "pix2pixhd", {})}
    without = advice.for_data(facts, "pix2pixhd", "AtoB", perceptual="no weights")
    assert "model.lambda_perceptual" not in with_weights["small"]
    assert with_weights["quick"]["model.lambda_perceptual"].value == 0
    assert without["model.lambda_perceptual"].value == 0
    assert advice.for_data(facts, "crn", "AtoB", perceptual="no weights")["model.lambda_l1"].value == 1


# The machine


def test_the_largest_networks_that_fit_the_budget_are_chosen(tmp_path, costs) -> None:
    root = str(pairs(tmp_path))
    for steps, names in ([0.1], ["paper"]), ([99.0, 0.1], ["paper", "small"]), ([99.0], ["paper", "small", "quick"]):
        seen = costs(*steps)
        made = plan(root, budget="1h")
        assert [t.name for t in made.tries] == names
        assert made.best.name == names[-1]
        assert len(seen) == len(names)


def test_a_run_is_cut_to_its_budget_and_says_so(tmp_path, costs) -> None:
    costs(1.0)
    made = plan(str(pairs(tmp_path)), budget="20m")
    assert made.best.name == "paper"
    assert 1100 < (made.best.steps or 0) <= 1165
    assert (made.best.seconds or 0) <= 1200
    assert "what 20m allow; the recipe has 200" in made.choices["train.epochs"].reason


@pytest.mark.parametrize(
    ("budget", "kept", "steps"),
    [
        ("20m", False, 132),  # every step waits 8 s for its 4 images
        ("20m", True, 950),  # those of the first epoch do, and so 200 s are over
        ("3m", True, 19),  # before that epoch has ended
    ],
)
def test_a_budget_holds_what_reading_takes_as_well(tmp_path, costs, monkeypatch, budget, kept, steps) -> None:
    costs(1.0, reading=2.0)
    monkeypatch.setattr(planning, "cache_budget", lambda settings: GB if kept else 0)
    made = plan(str(pairs(tmp_path, 100, 32)), budget=budget, device="cpu")
    assert (made.best.name, made.best.batch, made.best.steps) == ("quick", 4, steps)
    assert 0.95 * seconds_of(budget) < (made.best.seconds or 0) <= seconds_of(budget)


def test_reading_alone_can_be_too_slow_and_the_budget_that_would_do_counts_it(tmp_path, costs, monkeypatch) -> None:
    costs(0.01, reading=2.0)
    monkeypatch.setattr(planning, "cache_budget", lambda settings: 0)
    made = plan(str(pairs(tmp_path)), budget="20m", device="cpu")
    assert [t.verdict for t in made.tries[:-1]] == ["20m would not do for half of it"] * 2
    assert any("the recipe has 2000: --budget 4h27m would do" in concern for concern in made.concerns)


def test_a_gpu_waits_only_for_what_threads_cannot_read_ahead(tmp_path, monkeypatch) -> None:
    prepared = prepare(load(plan_text(tmp_path)))
    monkeypatch.setattr(planning, "_device", lambda prepared: torch.device("cuda"))
    assert [planning._pace(prepared, Cost(step, 2.0, GB, GB)).wait for step in (0.1, 1.0)] == [0.4, 0.0]


def test_a_pace_slows_down_only_while_it_reads() -> None:
    pace = planning.Pace(1.0, 2.0, 10)
    assert [pace.seconds(steps) for steps in (5, 10, 15)] == [15, 30, 35]
    assert [pace.within(allowed) for allowed in (29, 30, 50)] == [(3, 29), (1, 10), (1, 30)]


def test_small_networks_take_up_to_half_of_a_budget_that_has_room(tmp_path, costs) -> None:
    root = str(pairs(tmp_path, 100, 32))
    for small, epochs in ((0.01, 200), (1.0, 144), (2.0, 120)):
        costs(99.0, small)
        made = plan(root, budget="2h4m")
        assert (made.best.name, made.choices["train.epochs"].value) == ("small", epochs)
        assert (made.best.seconds or 0) < 7440


def test_a_budget_that_is_far_too_short_is_said(tmp_path, costs) -> None:
    costs(99.0)
    made = plan(str(pairs(tmp_path)), budget="5m")
    assert made.best.name == "quick"
    (concern,) = [c for c in made.concerns if "steps are few" in c]
    assert "--budget " in concern
    assert seconds_of(concern.partition("--budget ")[2].partition(" ")[0]) > 300


def test_networks_without_room_in_memory_are_not_chosen(tmp_path, costs, monkeypatch) -> None:
    costs(0.01, memory=9 * GB)
    with pytest.raises(OutOfResources, match="no way to train pix2pix fits"):
        plan(str(pairs(tmp_path)))

    def out_of_memory(prepared, hopeless=0.0):
        if prepared.config.model.generator.width == 64:
            raise RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes")
        return Cost(0.01, 0.001, GB, 8 * GB)

    monkeypatch.setattr(planning, "measure", out_of_memory)
    made = plan(str(tmp_path))
    assert [t.verdict.partition(",")[0] for t in made.tries] == ["out of memory", "chosen"]


def test_other_errors_of_a_step_are_not_taken_for_memory(tmp_path, costs, monkeypatch) -> None:
    def broken(prepared, hopeless=0.0):
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(planning, "measure", broken)
    with pytest.raises(RuntimeError, match="shapes"):
        plan(str(pairs(tmp_path)))


def test_measuring_is_real_and_leaves_nothing_behind(tmp_path, monkeypatch) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    monkeypatch.chdir(scratch)
    made = plan(str(pairs(tmp_path / "data", size=32)), budget="10s", device="cpu")
    assert not list(scratch.iterdir())
    assert 0 < (made.best.step or 0) < 60
    if sys.platform == "linux":
        assert 5e7 < (made.best.memory or 0) < 5e10
    accepted(made, tmp_path)


def test_a_hopeless_first_step_is_not_followed_by_a_second(tmp_path, monkeypatch) -> None:
    from i2i.measure import measure
    from i2i.training.trainer import Trainer

    learned = []
    learn = Trainer.learn
    monkeypatch.setattr(Trainer, "learn", lambda self, batch: (learned.append(self.step), learn(self, batch)))
    text = plan_text(tmp_path)
    measure(prepare(load(text)), hopeless=0.0)
    assert len(learned) == 1
    assert learned[0] > 0  # in the middle of the run


def test_what_a_measuring_out_of_memory_held_is_free_before_the_next(tmp_path, monkeypatch) -> None:
    from i2i import measure
    from i2i.training.trainer import Trainer

    class Held:
        """Holds itself, as a failed step does by its error."""

    alive = []

    def learn(self, batch):
        held = Held()
        held.itself = held
        alive.append(weakref.ref(held))
        raise MemoryError

    def free_on(device):
        seen.append([held() for held in alive])
        return GB

    seen: list = []
    monkeypatch.setattr(Trainer, "learn", learn)
    monkeypatch.setattr(measure, "free_on", free_on)
    prepared = prepare(load(plan_text(tmp_path)))
    gc.disable()
    try:
        for _ in range(2):
            with contextlib.suppress(MemoryError):
                measure.measure(prepared)
    finally:
        gc.enable()
    assert seen == [[], [None]]


def plan_text(tmp_path: Path) -> str:
    source = pairs(tmp_path / "data", size=32)
    model = "{generator: {depth: 3, width: 2}, discriminator: {layers: 1, width: 2}}"
    return f"method: pix2pix\nmodel: {model}\ndata: {{size: 16, source: '{source}'}}\ntrain: {{device: cpu, steps: 50}}\n"


# What is refused, and words


def test_an_empty_folder_is_refused_as_in_training(tmp_path, costs) -> None:
    with pytest.raises(UserError, match="holds no layout"):
        plan(str(tmp_path))


def test_one_pair_is_planned_with_a_warning(tmp_path, costs) -> None:
    made = plan(str(pairs(tmp_path, count=1)))
    assert any("only 1 image to" in concern for concern in made.concerns)
    accepted(made, tmp_path)


def test_damaged_files_are_named(tmp_path, costs) -> None:
    (pairs(tmp_path) / "train" / "2.png").write_bytes(b"")
    with pytest.raises(UserError, match=r"the file is empty, such as .*2\.png"):
        plan(str(tmp_path))


def test_views_of_single_things_get_a_hint_how_to_pair_them(tmp_path, costs) -> None:
    for i in range(6):
        save(tmp_path / "train" / f"thing{i // 2}_v{i % 2}.png", texture(i, 32, 32, 3))
    with pytest.raises(UserError) as refused:
        plan(str(tmp_path))
    assert "3 things in 2 views (_v0, _v1)" in (refused.value.hint or "")


def test_every_setting_but_the_source_has_its_reason(tmp_path, costs) -> None:
    scenes.make(tmp_path / "s", "paired", 3, 64)
    for steps in ([0.001], [9.0, 0.001], [9.0]):
        costs(*steps)
        made = plan(str(tmp_path / "s"))
        assert [key for key, choice in made.choices.items() if not choice.reason] == ["data.source"]
        lines = [line for line in made.text().splitlines() if ": " in line and not line.startswith(("#", "method", "  source"))]
        assert lines
        assert all("  # " in line for line in lines)


def test_an_odd_name_survives_the_config(tmp_path, costs) -> None:
    root = pairs(tmp_path / "it's: a, [long] #folder")
    assert yaml.safe_load(plan(str(root)).text())["data"]["source"] == str(root)


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("2h", 7200), ("1h30m", 5400), ("1.5d", 129600)])
def test_budgets_are_read_and_written_alike(text, seconds) -> None:
    assert seconds_of(text) == seconds
    assert seconds_of(clock(seconds)) == seconds


@pytest.mark.parametrize("text", ["", "2", "h", "2 hours", "-2h", "0s"])
def test_what_is_no_time_is_no_budget(text) -> None:
    with pytest.raises(UserError, match="a budget is a time"):
        seconds_of(text)
