"""On a GPU: the numbers of the CPU, in every precision, through a kill, and when its memory runs out. Skipped without one."""

import numpy as np
import pytest
import torch

from i2i import doctor
from i2i.images import Picture
from i2i.method import Batch
from i2i.training import checkpoint, folder
from i2i.training.precision import Precision, choose_precision
from i2i.training.update import Updater
from i2i.translate import Translator

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
CPU, GPU = torch.device("cpu"), torch.device("cuda")
QUIET = {  # what draws nothing, so that both devices can be compared
    "pix2pix": {"generator": {"depth": 3, "width": 4, "dropout": False}},
    "cyclegan": {},
    "pix2pixhd": {},
    "crn": {},
}


@pytest.fixture(autouse=True)
def exact():
    """The same numbers every time, and float32 that is not rounded on the way."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32, torch.backends.cudnn.deterministic = False, True
    yield
    torch.backends.cudnn.allow_tf32, torch.backends.cudnn.deterministic = before, False
    torch.cuda.set_per_process_memory_fraction(1.0)
    torch.cuda.empty_cache()


def losses(method, batch, device, precision, steps=3) -> dict[str, float]:
    """Those of the last step."""
    chosen = Precision(precision, device)
    update = Updater(method.to(device), lr=1e-3, precision=chosen)
    for _ in range(steps):
        with chosen.autocast():
            method.step(Batch(*(part.to(device) for part in batch[:2])), update)
        terms = update.taken_terms()
    return {name: float(value) for name, value in terms.items()}


@pytest.mark.parametrize("name", QUIET)
@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 2e-3), ("bf16", 0.15), ("fp16", 0.05)])
def test_a_step_costs_what_it_costs_on_the_cpu(name, precision, tolerance, tiny, pair) -> None:
    batch = pair(batch=2, size=32)
    steps = 1 if precision == "fp16" else 3  # its scaler leaves steps out until the scale fits
    expected = losses(tiny(name, **QUIET[name]), batch, CPU, "fp32", steps)
    assert losses(tiny(name, **QUIET[name]), batch, GPU, precision, steps) == pytest.approx(
        expected, rel=tolerance, abs=tolerance
    )


@pytest.mark.parametrize("name", ["bicyclegan", "simgan"])
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_method_that_draws_stays_finite(name, precision, tiny, pair) -> None:
    assert np.isfinite(list(losses(tiny(name), pair(batch=2, size=32), GPU, precision).values())).all()


def test_the_precision_of_a_gpu_is_bfloat16() -> None:
    assert choose_precision("auto", GPU).name == "bf16"


@pytest.fixture
def translators(saved, tmp_path):
    """`translators("pix2pix", {...})`: the same model on the CPU and on the GPU, in float32."""

    def make(*model, **domains):
        file = saved(tmp_path / "model.safetensors", *model, **domains)
        return [Translator.open(file, str(device), precision="fp32") for device in (CPU, GPU)]

    return make


def picture(height, width, dtype=np.uint8) -> Picture:
    return Picture(np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (height, width, 3), dtype, endpoint=True))


@pytest.mark.parametrize(
    "model", [(), ("pix2pix", {"generator": {"depth": 3, "width": 4}}), ("crn", {"modules": 3, "width": 0.01})]
)
def test_an_image_becomes_what_it_becomes_on_the_cpu(model, translators) -> None:
    one, other = (t.translate(picture(70, 90).array).array for t in translators(*model))
    assert np.abs(one.astype(int) - other).max() <= 1


def test_sixteen_bits_pass_through_a_gpu(translators) -> None:
    domain = {"dtype": "uint16"}
    one, other = (t.translate(picture(70, 90, np.uint16).array).array for t in translators(x=domain, y=domain))
    assert one.dtype == other.dtype == np.uint16
    assert np.abs(one.astype(int) - other).max() <= 8


def test_an_image_that_does_not_fit_into_the_memory_of_the_gpu_is_made_in_tiles(translators) -> None:
    _, gpu = translators()
    image = picture(3000, 3000).array
    whole = gpu.translate(image).array
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_allocated() + 200_000_000) / total)
    tiled = gpu.translate(image).array
    assert np.abs(whole.astype(int) - tiled).max() <= 1


def test_noise_of_a_seed_is_the_same_every_time(translators) -> None:
    _, gpu = translators("pix2pix", {"generator": {"kind": "resnet", "blocks": 1, "width": 4, "dropout": True}})
    one, other, third = (gpu.translate(picture(64, 64).array, noise=seed).array for seed in (1, 1, 2))
    assert (one == other).all()
    assert (one != third).any()


def test_the_doctor_takes_a_step_on_the_gpu() -> None:
    assert [row for row in doctor.examine("cuda") if row.group in ("devices", "step") and row.severity == "broken"] == []


# Runs


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_run_that_was_killed_ends_where_it_would_have_ended(precision, new_run, trainer_of, watch) -> None:
    class Killed(BaseException):
        pass

    def kill(done):
        if done == 5:
            raise Killed

    settings = ["train.device=cuda", f"train.precision={precision}", "data.hold_back=2", "train.validate_every=1"]
    alone, killed = (new_run("pix2pix", name, *settings, "train.metrics=[l1]") for name in ("alone", "killed"))
    trainer_of(alone).run()
    with pytest.raises(Killed):
        trainer_of(killed, watcher=watch(kill)).run()
    trainer_of(killed).run()
    assert [row["step"] for row in folder.log(alone)] == [row["step"] for row in folder.log(killed)]
    assert_same_but_for_rounding(alone, killed)


def assert_same_but_for_rounding(one, other) -> None:
    """The draws are the same to the bit; sums come in any order on a GPU, so that weights are but for the last digits."""
    (weights, _, state), (others, _, other_state) = (checkpoint.load(checkpoint.latest(run)) for run in (one, other))
    assert torch.equal(state["rng"]["cpu"], other_state["rng"]["cpu"])
    assert all(map(torch.equal, state["rng"]["cuda"], other_state["rng"]["cuda"]))
    assert weights.keys() == others.keys()
    assert all(torch.allclose(tensor, others[name], atol=2e-3) for name, tensor in weights.items())


def test_validation_draws_nothing_from_the_generator_of_the_gpu(new_run, trainer_of) -> None:
    settings = ["train.device=cuda", "data.hold_back=2", "train.metrics=[l1]"]
    runs = [new_run("pix2pix", str(every), *settings, f"train.validate_every={every}") for every in (5, 1)]
    for run in runs:
        trainer_of(run).run()
    assert_same_but_for_rounding(*runs)


def test_a_compiled_run_learns_and_its_model_has_the_usual_keys(new_run, trainer_of) -> None:
    found = []
    for compiled in (False, True):
        settings = ["train.device=cuda", "train.precision=fp32", "model.generator.dropout=false", f"train.compile={compiled}"]
        run = new_run("pix2pix", str(compiled), *settings, steps=2)
        trainer_of(run).run()
        found.append(checkpoint.load_weights(run / "model.safetensors")[0])
    assert found[0].keys() == found[1].keys()
    assert all(torch.allclose(tensor, found[1][name], atol=2e-3) for name, tensor in found[0].items())
