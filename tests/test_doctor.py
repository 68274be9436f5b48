"""Whether `doctor` sees what is sound, and what is not: each thing is broken here on purpose."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from i2i import doctor, images, movies
from i2i.doctor import Row, examine
from i2i.losses import perceptual


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """None of this machine's own variables and weights."""
    for name in doctor.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.chdir(tmp_path)


def rows(group: str, device: str = "cpu") -> dict[str, Row]:
    return {row.name: row for row in examine(device) if row.group == group}


def test_a_sound_machine_has_nothing_broken() -> None:
    found = list(examine("cpu"))
    assert [row for row in found if row.severity == "broken"] == []
    assert {row.group for row in found} >= {"versions", "devices", "step", "codecs", "weights", "room"}
    assert all(row.remedy for row in found if row.severity != "ok")


def test_versions_that_are_too_old_are_named_with_the_command(monkeypatch) -> None:
    monkeypatch.setattr(doctor, "version", lambda name: {"torch": "1.13"}.get(name, "99"))
    row = rows("versions")["torch"]
    assert row.severity == "broken"
    assert "1.13; >=2.10 is needed" in row.value
    assert row.remedy == "pip install 'torch>=2.10'"


def test_a_missing_package_is_broken_and_an_optional_one_is_not(monkeypatch) -> None:
    def version(name: str) -> str:
        if name in ("safetensors", "onnx"):
            raise doctor.PackageNotFoundError(name)
        return "99"

    monkeypatch.setattr(doctor, "version", version)
    found = rows("versions")
    assert found["safetensors"].severity == "broken"
    assert "onnx" not in found


def test_torch_and_torchvision_that_do_not_fit_are_seen(monkeypatch) -> None:
    import torchvision

    def unfit(*_: object) -> None:
        raise RuntimeError("operator torchvision::nms does not exist\nmore")

    monkeypatch.setattr(torchvision.ops, "nms", unfit)
    row = rows("versions")["torch + torchvision"]
    assert (row.severity, "nms does not exist)" in row.value) == ("broken", True)


def test_more_threads_than_cores_are_noted(monkeypatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 999)
    row = rows("devices")["cpu"]
    assert row.severity == "note"
    assert "OMP_NUM_THREADS=" in row.remedy


@pytest.mark.parametrize(("has", "word"), [(True, "fast"), (False, "slow")])
def test_it_says_whether_bf16_is_fast_and_why(monkeypatch, has, word) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: has)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    assert rows("devices")["cpu bf16"].value.startswith(f"{word}: the processor has ")


def test_a_device_that_is_not_there_is_broken() -> None:
    row = rows("step", "cuda:77")["cuda:77"]
    assert row.severity == "broken"
    assert "--device cpu" in row.remedy


def test_a_step_that_computes_wrong_numbers_is_broken(monkeypatch) -> None:
    answers = iter([0.5, 0.9, 0.5])
    monkeypatch.setattr(doctor, "_learned", lambda precision: next(answers))
    assert rows("step")["cpu fp32"].severity == "broken"


def test_a_step_that_fails_is_broken_in_words(monkeypatch) -> None:
    learned = doctor._learned
    calls: list[int] = []

    def fails_later(precision: object) -> float:
        calls.append(1)
        if len(calls) > 1:
            raise RuntimeError("no kernel image is available\nlong story")
        return learned(precision)  # type: ignore[arg-type]

    monkeypatch.setattr(doctor, "_learned", fails_later)
    assert rows("step")["cpu fp32"].value == "fails: no kernel image is available"


def test_a_codec_that_changes_pixels_or_fails_is_broken(monkeypatch) -> None:
    encode = images.encode

    def odd(picture, suffix, *more):
        if suffix == ".webp":
            raise OSError("encoder webp not available")
        flipped = images.Picture(picture.array[::-1]) if suffix == ".bmp" else picture
        return encode(flipped, suffix, *more)

    monkeypatch.setattr(images, "encode", odd)
    found = rows("codecs")
    assert "encoder webp not available" in found["webp"].value
    assert [name for name, row in found.items() if row.severity == "broken"] == ["webp", "bmp"]


def test_movies_that_cannot_be_written_are_a_note(monkeypatch) -> None:
    def never(*_: object) -> bytes:
        raise images.ImageError("this OpenCV cannot write MP4")

    monkeypatch.setitem(movies.MOVIES, ".mp4", replace(movies.MOVIES[".mp4"], encode=never))
    assert rows("codecs")["mp4"].severity == "note"


def test_weights_that_are_not_there_are_a_note_that_says_where_they_go(tmp_path) -> None:
    row = rows("weights")["vgg19"]
    assert row.severity == "note"
    assert str(tmp_path / "hub") in row.value
    assert "https://" in row.remedy


def test_weights_are_found_with_their_size_and_hash(tmp_path, monkeypatch) -> None:
    network = perceptual.architecture("vgg16")
    torch.save({name: torch.zeros(tensor.shape) for name, tensor in network.state_dict().items()}, tmp_path / "vgg16.pth")
    monkeypatch.setenv("I2I_WEIGHTS", str(tmp_path))
    row = rows("weights")["vgg16"]
    assert row.severity == "ok"
    assert "59 MB, sha256 " in row.value
    assert "a name without a hash" in row.value


def test_weights_that_are_not_what_their_name_says_are_broken(tmp_path, monkeypatch) -> None:
    (tmp_path / "vgg19-dcbb9e9d.pth").write_bytes(b"<html>404</html>")
    monkeypatch.setenv("I2I_WEIGHTS", str(tmp_path))
    row = rows("weights")["vgg19"]
    assert (row.severity, row.remedy) == ("broken", "fetch it again")


@pytest.mark.parametrize(("name", "value"), [("I2I_WEIGHTS", "nowhere"), ("I2I_MIRROR", "my server"), ("I2I_DATA", "file")])
def test_variables_that_cannot_be_meant_are_broken(tmp_path, monkeypatch, name, value) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(name, value)
    assert any(row.severity == "broken" and row.remedy for row in examine("cpu"))
    assert repr(value) in rows("environment")[name].value


def test_little_room_is_noted(monkeypatch) -> None:
    usage = doctor.shutil.disk_usage("/")
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda place: type(usage)(10**10, 9 * 10**9, 10**9))
    monkeypatch.setattr(doctor, "free_memory", lambda: 10**9)
    found = rows("room")
    assert (found["runs (here)"].severity, found["memory"].severity) == ("note", "note")
    assert "1.0 GB free" in found["memory"].value


def test_a_folder_that_cannot_be_written_to_is_broken(monkeypatch) -> None:
    monkeypatch.setattr(doctor.os, "access", lambda place, mode: False)
    assert rows("room")["runs (here)"].severity == "broken"


def test_what_was_learned_is_the_same_every_time() -> None:
    precision = doctor.Precision("fp32", torch.device("cpu"))
    assert doctor._learned(precision) == doctor._learned(precision)
    assert np.isfinite(doctor._learned(precision))
