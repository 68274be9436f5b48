"""Finding and opening the networks that judge images, with files of random weights under the published names."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor
from torchvision.models import get_model

from i2i import judges
from i2i.errors import UserError
from i2i.judges import Missing, architecture, features, linear_weights, lpips, places

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.delenv("I2I_WEIGHTS", raising=False)


@pytest.fixture(scope="session")
def squeezenet() -> dict[str, Tensor]:
    torch.manual_seed(0)
    return get_model("squeezenet1_1", weights=None).state_dict()


@pytest.fixture
def file(tmp_path, squeezenet) -> Callable[..., Path]:
    def write(name: str = "squeezenet1_1.safetensors", folder: str = "weights", state: dict | None = None) -> Path:
        path = tmp_path / folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        state = squeezenet if state is None else state
        safetensors.torch.save_file(state, path) if path.suffix == ".safetensors" else torch.save(state, path)
        return path

    return write


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("vgg16-397923af.pth", "vgg16"),
        ("vgg16_bn-6c64b313.pth", "vgg16_bn"),
        ("vgg16_features.safetensors", "vgg16"),
        ("squeezenet1_1-b8a52dc0.pth", "squeezenet1_1"),
        ("resnet50-11ad3fa6.pth", "resnet50"),
        ("deeplabv3_resnet101_coco-586e9e4e.pth", None),
        ("notes.pth", None),
    ],
)
def test_the_name_of_a_file_says_which_network_it_holds(name, expected) -> None:
    assert architecture(Path(name)) == expected


def test_a_file_or_a_folder_or_the_environment_or_the_cache_names_the_weights(file, monkeypatch, tmp_path) -> None:
    given = file()
    assert features(places([given]), CPU).file == given
    assert features(places([given.parent]), CPU).file == given
    monkeypatch.setenv("I2I_WEIGHTS", str(given.parent))
    assert features(places(), CPU).file == given
    monkeypatch.delenv("I2I_WEIGHTS")
    cached = file(folder="hub/checkpoints")
    assert features(places(), CPU).file == cached
    with pytest.raises(UserError, match="no file or folder 'nowhere'"):
        places([Path("nowhere")])


def test_without_weights_it_says_what_to_fetch_and_where_it_goes(tmp_path) -> None:
    for find in (lambda: features(places(), CPU), lambda: lpips(places(), "0.1", CPU)):
        with pytest.raises(Missing) as caught:
            find()
        assert "https://" in caught.value.hint
        assert str(tmp_path / "hub") in caught.value.hint
        assert "--weights" in caught.value.hint


def test_a_classifier_is_named_hashed_and_describes_images(file) -> None:
    judge = features(places([file()]), CPU)
    assert judge.name == "squeezenet1_1"
    assert judge.sha256 == hashlib.sha256(judge.file.read_bytes()).hexdigest()
    assert judge.network(torch.zeros(3, 40, 30, dtype=torch.uint8)).shape == (512,)


@pytest.mark.parametrize("prefix", ["features.", ""])
def test_features_alone_are_enough_under_either_name(file, squeezenet, prefix) -> None:
    kept = {key.removeprefix("features."): w.half() for key, w in squeezenet.items() if key.startswith("features.")}
    given = file(state={f"{prefix}{key}": weight for key, weight in kept.items()})
    judge = features(places([given]), CPU)
    assert judge.network(torch.zeros(3, 40, 30, dtype=torch.uint8)).shape == (512,)
    assert lpips(places([given]), "0.1", CPU).name == "squeeze"


@pytest.mark.parametrize("folder", ["weights", "hub/checkpoints"])
def test_the_published_inception_wins_over_another_classifier_in_the_same_or_an_earlier_place(file, folder) -> None:
    from i2i.networks.inception import fid_inception

    classifier = file()
    torch.manual_seed(0)
    inception = file("pt_inception-2015-12-05.pth", folder, state=fid_inception().state_dict())
    judge = features(places([classifier.parent]), CPU)
    assert (judge.name, judge.file) == (judges.PUBLISHED, inception)
    assert judge.network(torch.zeros(3, 40, 30, dtype=torch.uint8), "legacy").shape == (2048,)


@pytest.mark.parametrize("content", [b"<html>404</html>", b""])
def test_a_damaged_file_is_an_error_and_not_passed_over(file, content) -> None:
    path = file()
    path.write_bytes(content)
    with pytest.raises(UserError, match="cannot read"):
        features(places([path]), CPU)


def test_a_file_that_is_not_what_its_name_says_is_refused(file, squeezenet) -> None:
    with pytest.raises(UserError, match="SHA-256"):
        features(places([file("squeezenet1_1-00000000.pth")]), CPU)
    with pytest.raises(UserError, match=r"does not hold the expected weights: .* is not there"):
        features(places([file("resnet18.safetensors")]), CPU)
    wrong = {**squeezenet, "classifier.1.bias": torch.zeros(7)}
    with pytest.raises(UserError, match=r"classifier.1.bias has the shape \(7,\)"):
        features(places([file(state=wrong)]), CPU)


@pytest.mark.parametrize(
    ("near", "far", "taken"),
    [("squeezenet1_1", "alexnet", "alex"), ("squeezenet1_1", "vgg16", "vgg"), ("vgg16", "alexnet", "alex")],
)
def test_lpips_prefers_alex_to_vgg_to_squeeze_wherever_they_lie_but_takes_what_is_named(
    file, tmp_path, near, far, taken
) -> None:
    def lying(name: str, folder: str) -> Path:
        with torch.device("meta"):
            shapes = {key: weight.shape for key, weight in get_model(name, weights=None).features.state_dict().items()}
        path = tmp_path / folder / f"{name}.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        safetensors.torch.save_file({key: torch.zeros(shape) for key, shape in shapes.items()}, path)
        return path

    first, second = lying(near, "near"), lying(far, "far")
    assert lpips(places([first.parent, second.parent]), "0.1", CPU).name == taken
    assert lpips(places([first, second.parent]), "0.1", CPU).file == first


def test_lpips_takes_the_backbone_that_is_there_with_weights_that_ship(file) -> None:
    judge = lpips(places([file().parent]), "0.0", CPU)
    assert (judge.name, judge.network.version, judge.network.smallest) == ("squeeze", "0.0", 17)
    a, b = torch.zeros(1, 3, 17, 17), torch.full((1, 3, 17, 17), 255.0)
    assert judge.network(a, b).item() > 0
    assert judge.network(a, a).item() == 0


@pytest.mark.parametrize("net", ["alex", "squeeze", "vgg"])
def test_the_shipped_weights_are_never_negative_and_differ_between_the_versions(net) -> None:
    old, new = linear_weights(net, "0.0"), linear_weights(net, "0.1")
    assert [len(w) for w in old] == [len(w) for w in new]
    assert all(bool((w >= 0).all()) for w in (*old, *new))
    assert not torch.equal(old[0], new[0])
