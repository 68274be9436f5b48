import pytest
import torch

from i2i.errors import UserError
from i2i.training import precision
from i2i.training.precision import Precision, choose_device, choose_precision

CPU = torch.device("cpu")


@pytest.mark.parametrize(("has", "expected"), [(True, "bf16"), (False, "fp32")])
def test_auto_is_bfloat16_where_the_hardware_has_it(monkeypatch, has, expected) -> None:
    monkeypatch.setattr(precision, "_has_bfloat16", lambda device: has)
    assert choose_precision("auto", CPU) == Precision(expected, CPU)
    assert choose_precision("fp32", CPU).name == "fp32"


def test_fp16_on_the_cpu_is_refused_with_a_way_out() -> None:
    with pytest.raises(UserError, match="fp16") as caught:
        choose_precision("fp16", CPU)
    assert "bf16 or fp32" in caught.value.hint


def test_only_fp16_needs_a_scaler() -> None:
    assert [Precision(name, CPU).scaled for name in ("fp32", "bf16", "fp16")] == [False, False, True]


def test_the_region_computes_in_the_format_of_its_name() -> None:
    layer, x = torch.nn.Linear(2, 2), torch.ones(1, 2)
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        with Precision(name, CPU).autocast():
            assert layer(x).dtype == dtype


def test_the_device_auto_is_one_that_works() -> None:
    torch.empty(1, device=choose_device("auto"))
    assert choose_device("cpu") == CPU


@pytest.mark.parametrize("name", ["cuda:99", "gpu", ""])
def test_a_device_that_is_not_there_is_an_error_with_a_way_out(name) -> None:
    with pytest.raises(UserError, match=f"there is no device '{name}' here") as caught:
        choose_device(name)
    assert "--device cpu" in caught.value.hint
