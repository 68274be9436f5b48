import importlib.resources
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from i2i import config
from i2i.config import Config, Layer, dump, flat, from_assignments, from_file, parse, preset, presets
from i2i.errors import UserError
from i2i.methods import METHODS
from i2i.models import build, configure

SHIPPED = [(method, name) for method in METHODS for name in presets(method)]


def resolved(*layers: Layer, method: str = "pix2pix") -> Config:
    return configure(method, list(layers))


def assigned(*assignments: str, method: str = "pix2pix") -> Config:
    return resolved(from_assignments(list(assignments)), method=method)


def refusal(*assignments: str) -> UserError:
    with pytest.raises(UserError) as caught:
        assigned(*assignments)
    return caught.value


# Layers


def test_without_any_layer_everything_is_the_paper_s() -> None:
    c = resolved()
    assert (c.train.lr, c.train.betas, c.train.epochs, c.train.batch) == (2e-4, (0.5, 0.999), 200, 1)
    assert (c.data.size, c.data.resized, c.data.flip) == (256, (286, 286), True)
    assert set(c.sources.values()) == {"default"}


def test_later_layers_win_key_by_key(tmp_path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("train: {batch: 3, lr: 1e-3}\nmodel: {lambda_l1: 7}\n")
    c = resolved(
        preset("pix2pix", "quick"),
        from_file(file),
        Layer("--batch", {"train": {"batch": 5}}),
        from_assignments(["train.lr=2e-3"]),
    )
    assert (c.train.steps, c.model.lambda_l1, c.train.batch, c.train.lr) == (1000, 7, 5, 2e-3)
    assert c.sources["train.steps"] == "preset 'quick'"
    assert c.sources["model.lambda_l1"] == f"'{file}'"
    assert c.sources["train.batch"] == "--batch"
    assert c.sources["train.lr"] == "--set"
    assert c.sources["train.seed"] == "default"


def test_every_key_of_the_tree_has_a_source() -> None:
    c = resolved(preset("pix2pix", "small"))
    keys = flat({name: part for name, part in c.tree().items() if name != "method"})
    assert c.sources.keys() == keys.keys()


def test_a_part_of_the_generator_leaves_the_rest_of_the_method_s_own() -> None:
    c = assigned("model.generator.width=8")
    assert c.model.generator.model_dump() == {
        **{"kind": "unet", "depth": 8, "blocks": 9, "width": 8, "norm": "batch", "dropout": True, "upsample": "transposed"}
    }
    assert assigned("model.discriminator.width=8").model.discriminator.norm == "batch"
    assert assigned("model.generator.width=8", method="cyclegan").model.generator.kind == "resnet"


def test_a_config_for_another_method_is_refused() -> None:
    with pytest.raises(UserError, match="'x' is for the method 'cyclegan', not 'pix2pix'") as caught:
        resolved(Layer("'x'", {"method": "cyclegan"}))
    assert caught.value.hint == "i2i train cyclegan …"


def test_epochs_replace_the_steps_of_a_preset_and_say_so() -> None:
    c = resolved(preset("pix2pix", "quick"), Layer("--epochs", {"train": {"epochs": 3}}))
    assert (c.train.epochs, c.train.steps) == (3, None)
    assert c.sources["train.steps"] == "--epochs"


def test_steps_win_over_the_default_epochs() -> None:
    c = resolved(Layer("--steps", {"train": {"steps": 10}}))
    assert c.train.steps == 10


def test_a_run_without_a_length_is_refused() -> None:
    assert "neither train.epochs nor train.steps" in refusal("train.epochs=null").message


def test_replaced_values_have_their_source_and_are_checked() -> None:
    c = resolved().replaced("the data", data={"x": {"channels": 1}})
    assert c.data.x.channels == 1
    assert c.sources["data.x.channels"] == "the data"
    assert c.sources["data.size"] == "default"
    with pytest.raises(UserError, match=r"data\.x\.channels must be greater than or equal to 1, but the data says 0"):
        resolved().replaced("the data", data={"x": {"channels": 0}})


# What text means


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2e-4", 2e-4),
        ("1E3", 1000.0),
        ("-.5", -0.5),
        ("3", 3),
        ("1.", 1.0),
        (".inf", float("inf")),
        ("2026-01-02", "2026-01-02"),
    ],
)
def test_numbers_are_numbers_and_dates_are_words(text, value) -> None:
    read = parse(f"a: {text}", "x")["a"]
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize("word", ["off", "on", "yes", "no", "y", "n", "1e", "e4", "1.2.3", "v1"])
def test_words_stay_words(word) -> None:
    assert parse(f"a: {word}", "x") == {"a": word}


def test_true_and_null_are_what_they_say() -> None:
    assert parse("{a: true, b: False, c: null, d: ~}", "x") == {"a": True, "b": False, "c": None, "d": None}


@pytest.mark.parametrize(("word", "value"), [("no", False), ("off", False), ("yes", True), ("on", True), ("true", True)])
def test_a_switch_understands_the_usual_words(word, value) -> None:
    assert assigned(f"data.flip={word}").data.flip is value


def test_an_empty_file_changes_nothing() -> None:
    assert resolved(Layer("'x'", parse("# nothing\n", "'x'"))) == resolved()


@pytest.mark.parametrize("text", ["- a\n- b", "just words", "1: 2"])
def test_a_file_that_holds_no_settings_is_refused(text) -> None:
    with pytest.raises(UserError, match="'x' does not hold settings"):
        parse(text, "'x'")


def test_text_that_is_not_yaml_is_refused_by_its_place() -> None:
    with pytest.raises(UserError, match=r"'x' is not valid YAML: .*line 1"):
        parse("a: [1, 2", "'x'")


def test_yaml_cannot_make_python_objects() -> None:
    with pytest.raises(UserError, match="not valid YAML"):
        parse("a: !!python/object/apply:os.getcwd []", "'x'")


def test_a_file_that_is_not_there_is_an_error(tmp_path) -> None:
    with pytest.raises(UserError, match="cannot read the config file"):
        from_file(tmp_path / "none.yaml")


# --set


@pytest.mark.parametrize(
    ("assignment", "tree"),
    [
        ("train.lr=1e-4", {"train": {"lr": 1e-4}}),
        ("model.generator.width=8", {"model": {"generator": {"width": 8}}}),
        ("train.betas=[0.9, 0.99]", {"train": {"betas": [0.9, 0.99]}}),
        ("train.player_lr={D: 4e-4}", {"train": {"player_lr": {"D": 4e-4}}}),
        ("train.player_lr.D=4e-4", {"train": {"player_lr": {"D": 4e-4}}}),
        ("train.clip=null", {"train": {"clip": None}}),
        ("data.source=a=b", {"data": {"source": "a=b"}}),
        ("data.load_size=", {"data": {"load_size": None}}),
    ],
)
def test_set_reads_values_as_a_config_file_does(assignment, tree) -> None:
    assert from_assignments([assignment]).tree == tree
    resolved(from_assignments([assignment]))


def test_several_assignments_to_one_group_add_up() -> None:
    c = assigned("model.generator.width=8", "model.generator.depth=4", "model.generator.width=16")
    assert (c.model.generator.width, c.model.generator.depth) == (16, 4)


@pytest.mark.parametrize("assignment", ["train.lr", "lr=1", "=1", "train..lr=1", ".lr=1", "train.=1", "--x=1"])
def test_set_without_a_key_or_a_value_is_refused(assignment) -> None:
    with pytest.raises(UserError, match="--set takes key=value"):
        from_assignments([assignment])


@pytest.mark.parametrize("text", ["200", "2e2", "200.0", "'200'"])
def test_a_whole_number_may_be_written_as_one_likes(text) -> None:
    assert assigned(f"train.steps={text}").train.steps == 200


# What is wrong


@pytest.mark.parametrize(
    ("assignment", "key", "meant"),
    [
        ("train.lrr=1", "train.lrr", "train.lr"),
        ("model.lamda_l1=1", "model.lamda_l1", "model.lambda_l1"),
        ("model.generator.widht=1", "model.generator.widht", "model.generator.width"),
        ("trian.lr=1", "trian", "train"),
        ("data.x.chanels=1", "data.x.chanels", "data.x.channels"),
        ("model.genrator.width=1", "model.genrator", "model.generator"),
        ("train.size=64", "train.size", "data.size"),
        ("model.width=64", "model.width", "model.generator.width"),
    ],
)
def test_an_unknown_key_is_named_with_its_source_and_what_was_meant(assignment, key, meant) -> None:
    error = refusal(assignment)
    assert error.message == f"there is no setting '{key}' (from --set)"
    assert error.hint == f"did you mean '{meant}'?"


@pytest.mark.parametrize("assignment", ["train.qqqqqq=1", "model.generator.qqqqqq=1", "train.batch=0", "train.betas=[0.5]"])
def test_where_nothing_else_helps_the_hint_is_where_all_settings_are_shown(assignment) -> None:
    assert refusal(assignment).hint == "i2i config pix2pix shows every setting with its default"


def test_what_is_missing_in_a_group_is_the_hint() -> None:
    assert refusal("data.x.low=1").hint == "--set data.x.channels=…"


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        (
            "train.batch=many",
            "train.batch must be a valid integer, unable to parse string as an integer, but --set says 'many'",
        ),
        ("train.batch=1.5", "train.batch must be a valid integer, got a number with a fractional part, but --set says 1.5"),
        ("train.batch=0", "train.batch must be greater than or equal to 1, but --set says 0"),
        ("train.lr=-1", "train.lr must be greater than 0, but --set says -1"),
        ("train.lr=.nan", "train.lr must be a finite number, but --set says nan"),
        ("train.lr=.inf", "train.lr must be a finite number, but --set says inf"),
        ("train.epochs=.inf", "train.epochs must be a finite number, but --set says inf"),
        ("model.lambda_l1=.inf", "model.lambda_l1 must be a finite number, but --set says inf"),
        ("train.betas=[0.5, 1]", "train.betas.1 must be less than 1, but --set says 1"),
        ("train.betas=[-0.5, 0.9]", "train.betas.0 must be greater than or equal to 0, but --set says -0.5"),
        ("train.betas=[0.5, .nan]", "train.betas.1 must be"),
        ("train.betas=[true, 0.9]", "train.betas.0 must be a valid number, but --set says True"),
        ("train.player_lr.D=0", "train.player_lr.D must be greater than 0, but --set says 0"),
        ("train.player_lr.D=.inf", "train.player_lr.D must be a finite number, but --set says inf"),
        ("train.seed=9223372036854775808", "train.seed must be less than 9223372036854775808"),
        ("train.batch=true", "train.batch must be a number, but --set says True"),
        ("train.steps=true", "train.steps must be a number, but --set says True"),
        ("train.lr=true", "train.lr must be a number, but --set says True"),
        ("model.generator.width=true", "model.generator.width must be a number, but --set says True"),
        ("train.schedule=linaer", "train.schedule must be 'linear', 'constant' or 'cosine', but --set says 'linaer'"),
        ("model.generator.kind=vnet", "model.generator.kind must be 'unet' or 'resnet', but --set says 'vnet'"),
        ("model.gan=off", "model.gan.kind must be 'vanilla', 'lsgan', 'hinge' or 'wgan-gp', but --set says 'off'"),
        ("train.betas=[0.5]", "train.betas is incomplete: it needs more values"),
        ("model.generator=8", "model.generator must be a valid dictionary or instance of Generator, but --set says 8"),
        ("train.player_lr={D: fast}", "train.player_lr.D must be a valid number"),
        ("data.x.low=1", "data.x is incomplete: it needs 'channels'"),
    ],
)
def test_a_wrong_value_is_one_sentence_with_key_source_and_value(assignment, message) -> None:
    error = refusal(assignment)
    assert error.message.startswith(message)
    assert "\n" not in error.message
    assert error.status == 2


def test_the_source_of_a_wrong_value_is_the_layer_it_came_from(tmp_path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("train: {batch: many}")
    with pytest.raises(UserError, match=r"but '.*mine.yaml' says 'many'"):
        resolved(from_file(file), from_assignments(["train.lr=1e-3"]))


def test_a_whole_section_of_the_wrong_kind_is_refused() -> None:
    for text in ("train: 5", "train:", "model: [1]"):
        with pytest.raises(UserError):
            resolved(Layer("'x'", parse(text, "'x'")))


# Saved and shipped


def test_the_saved_config_works_as_a_config_and_resolves_to_itself(tmp_path) -> None:
    c = resolved(
        preset("cyclegan", "small"),
        from_assignments(["train.player_lr={D: 4e-4}", "train.lr=1e-5", "train.betas=[0, 0.9]"]),
        Layer("the data", {"data": {"x": {"channels": 1}, "y": {"channels": 3, "dtype": "uint16", "high": 4095}}}),
        method="cyclegan",
    )
    file = tmp_path / "config.yaml"
    file.write_text(dump({**c.tree(), "made_with": {"python": "3"}}))
    again = resolved(from_file(file), method="cyclegan")
    assert again == c
    assert again.tree() == c.tree()
    assert yaml.safe_load(file.read_text())["method"] == "cyclegan"


def test_every_preset_is_shipped_and_belongs_to_a_method() -> None:
    files = {f.name for f in importlib.resources.files("i2i.presets").iterdir() if f.name.endswith(".yaml")}
    assert files == {f"{method}-{name}.yaml" for method, name in SHIPPED}


@pytest.mark.parametrize(("method", "name"), SHIPPED)
def test_every_preset_resolves_builds_and_suits_its_size(method, name) -> None:
    c = resolved(preset(method, name), Layer("the data", {"data": {"x": {"channels": 3}, "y": {"channels": 3}}}), method=method)
    with torch.device("meta"):
        networks = build(c)
    for stage in c.by_stage().values():
        assert all(side % networks.crop_stride() == 0 for side in stage.data.crop)
        assert min(stage.data.crop) >= networks.smallest_crop()
    assert presets(method)[name], "its first line says what it is for"


@pytest.mark.parametrize(
    ("given", "kept", "crop"),
    [("256", 256, (256, 256)), ("64x64", 64, (64, 64)), ("1024x512", "1024x512", (512, 1024)), ("96X32", "96x32", (32, 96))],
)
def test_a_size_is_a_number_or_width_by_height(given: str, kept: int | str, crop: tuple[int, int]) -> None:
    c = resolved(from_assignments([f"data.size={given}"]))
    assert (c.data.size, c.data.crop) == (kept, crop)
    assert resolved(Layer("the run", parse(dump(c.tree()), "the run"))).data == c.data


@pytest.mark.parametrize("wrong", ["0", "-1", "1x", "12x0", "1.5", "[1, 2]", "null", "'a x b'"])
def test_a_size_that_makes_no_sense_is_refused_in_words(wrong: str) -> None:
    with pytest.raises(UserError, match=r"data\.size must be pixels, such as 256, or WIDTHxHEIGHT"):
        resolved(from_assignments([f"data.size={wrong}"]))


def test_a_word_for_a_group_is_its_kind_and_keeps_what_else_the_group_says() -> None:
    layers = [from_assignments([value]) for value in ("model.gan.r1=2", "model.gan=hinge", "model.gan.relativistic=true")]
    c = resolved(*layers)
    assert (c.model.gan.kind, c.model.gan.r1, c.model.gan.relativistic) == ("hinge", 2, True)
    assert c.sources["model.gan.kind"] == "--set"
    assert c.sources["model.gan.margin"] == "default"
    again = resolved(*[from_assignments([value]) for value in ("model.gan=null", "model.gan.r1=2")])
    assert (again.model.gan.kind, again.model.gan.r1) == ("vanilla", 2)


def test_an_unknown_preset_is_refused_with_the_nearest() -> None:
    with pytest.raises(UserError, match="pix2pix has no preset 'smal'") as caught:
        preset("pix2pix", "smal")
    assert caught.value.hint == "did you mean 'small'?"
    with pytest.raises(UserError) as caught:
        preset("pix2pix", "zzz")
    assert caught.value.hint.startswith("there are: ")


def test_flat_names_every_leaf() -> None:
    tree: dict[str, Any] = {"a": {"b": 1, "c": {}}, "d": [1, {"e": 2}]}
    assert flat(tree) == {"a.b": 1, "a.c": {}, "d": [1, {"e": 2}]}


def test_the_config_module_does_not_know_torch() -> None:
    assert "torch" not in Path(config.__file__).read_text()
