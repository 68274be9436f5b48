"""Every command of the README runs, in its order, on small data under the names that the README uses."""

import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from i2i import cli, video
from i2i.data import scenes
from i2i.images import read, read_ids
from i2i.networks.unet import UNet

ROOT = Path(__file__).parent.parent
SHORT = " --set train.steps=2 --set model.discriminator.width=4"
NARROW = SHORT + " --set model.generator.width=4"
QUICK = {  # appended to each training, so that it takes a moment
    "pix2pix": NARROW + " --size 64 --set model.generator.depth=6",  # the least that has dropout
    "pix2pixhd": NARROW + " --size 32 --set model.generator.halvings=2 --set model.generator.blocks=1",
    "cyclegan": NARROW + " --size 32 --set model.generator.blocks=1",
    "bicyclegan": NARROW + " --size 64 --set model.generator.depth=5 --set model.encoder.blocks=3 --set model.encoder.width=4",
    "simgan": SHORT + " --size 32 --set model.refiner.width=4",
}


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)


def commands() -> list[str]:
    """The lines that call i2i, without their comments; the two commands that set up are run by .ci/run."""
    lines = [line.partition("  #")[0].strip() for block in blocks("sh") for line in block.splitlines()]
    return [line for line in lines if line.startswith("i2i ")]


def run(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run one line as a shell would, as far as the README goes: words, and > FILE."""
    words = shlex.split(line)
    out = Path(words[words.index(">") + 1]) if ">" in words else None
    words = words[: words.index(">")] if out else words
    if words[1] == "train":
        words += QUICK[words[2]].split()
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as ended, monkeypatch.context() as redirected:
        if out:
            redirected.setattr(sys, "stdout", out.open("w"))
        cli.main()
    assert ended.value.code in (0, None), line


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, film: Callable[..., Path], network: Callable[..., Path]) -> Path:
    scenes.make(tmp_path / "facades", "paired", 3, 32)
    scenes.make(tmp_path / "horse2zebra", "unpaired", 3, 32)
    scenes.make(tmp_path / "streets", "labels", 3, 32)
    scenes.make(tmp_path / "hands", "simreal", 3, 32)
    (tmp_path / "labels").symlink_to(tmp_path / "horse2zebra" / "testA")
    (tmp_path / "zebras").symlink_to(tmp_path / "horse2zebra" / "testB")
    (tmp_path / "in.png").write_bytes((tmp_path / "zebras" / next((tmp_path / "zebras").iterdir()).name).read_bytes())
    torch.save(UNet(3, 3, depth=5, width=2).state_dict(), tmp_path / "latest_net_G.pth")
    (tmp_path / "photo.png").symlink_to(tmp_path / "in.png")
    (tmp_path / "masks").symlink_to(tmp_path / "zebras")  # bright is where they change
    film(tmp_path / "in.mp4", [read(tmp_path / "in.png").array] * 3)
    classes = 1 + max(int(read_ids(file).max()) for file in (tmp_path / "streets").glob("*_label/*"))
    network(colours=[(number, 0, 0) for number in range(classes)]).rename(tmp_path / "streets.onnx")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_command_runs_in_the_order_of_the_readme(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(commands()) >= 12
    for line in commands():
        run(line, monkeypatch)
    assert read(folder / "out.png").array.shape == read(folder / "in.png").array.shape
    with video.opened(folder / "out.mp4") as clip:
        assert len(list(clip.frames())) == 3
    assert len(list((folder / "many").rglob("*_4.png"))) == len(list((folder / "labels").iterdir()))
    assert len(list((folder / "refined").rglob("*.json"))) == len(list((folder / "hands" / "synthetic").rglob("*.json"))) > 0
    (code,) = blocks("python")
    exec(code, {})


def test_the_two_setup_commands_are_the_ones_that_ci_runs() -> None:
    setups = [line for block in blocks("sh") for line in block.splitlines() if line.startswith("python3 -m venv")]
    assert len(setups) == 2
    assert "i2i train" in setups[0]
    assert "pytest" in setups[1]


def test_every_file_that_the_docs_link_to_exists() -> None:
    for document in ("README.md", "CONTRIBUTING.md"):
        for link in re.findall(r"\]\(([^)#:]+)\)", (ROOT / document).read_text()):
            assert (ROOT / link).exists(), f"{document} links to {link}"
