"""Models of the published programs: from their `.pth` files to settings and weights of a method here.

Read are pytorch-CycleGAN-and-pix2pix, pix2pixHD and BicycleGAN: a generator's file, or a folder with all files of a model.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from i2i import recognise
from i2i.errors import UserError
from i2i.recognise import Network
from i2i.state_dicts import Weights, load

SUFFIXES = (".pth", ".pt")
DROPOUT = "model.generator.dropout=true, as published: it has no weights, and is off when images are translated without --noise"
NETWORKS = re.compile(r"(?:(.+)_)?net_(G|G_A|G_B|E|D|D2|D_A|D_B)\.pth")


@dataclass(frozen=True)
class Foreign:
    """A model as settings over a method's own and weights by the method's names.

    `read` says what was read off the files, and from what; `assumed` what they cannot tell.
    """

    method: str
    tree: dict[str, Any]
    weights: Weights
    read: list[str]
    assumed: list[str]


def is_foreign(path: Path) -> bool:
    return bool(_stamps(path)) if path.is_dir() else path.suffix in SUFFIXES


def read(path: Path) -> Foreign:
    """Read a file or a folder. Raises UserError for what is no model of these programs, and for a file that could run code."""
    files = _files(path)
    if "G_B" in files:
        return _cycle(files)
    e = _recognised(recognise.encoder, files["E"]) if "E" in files else None
    judges, left_out = _judges({name: files[name] for name in ("D", "D2") if name in files})
    hd = (e is not None and e.kind == "encoder of features") or any(d.kind == "PatchGAN of pix2pixHD" for d in judges.values())
    z = e.out if e and e.kind == "encoder of codes" else 0
    g = _recognised(lambda weights: recognise.generator(weights, z=z, coarse_to_fine=hd), files["G"])
    networks = {"G": g, **({"E": e} if e else {}), **judges}
    how = {"coarse-to-fine generator": _pix2pixhd, "U-Net with a code": _bicyclegan if e else _noisy}.get(g.kind, _pix2pix)
    method, model, x, assumed = how(networks)
    tree = {"model": model, "data": {"x": x, "y": {"channels": g.out}}}
    facts = [line for name, network in networks.items() for line in _told(name, files[name], network)]
    return Foreign(method, tree, _joined(networks), facts + left_out, assumed)


def _cycle(files: dict[str, Path]) -> Foreign:
    """D_A judges what G_A makes, which is of the side y here."""
    g, f = (_recognised(recognise.generator, files[name]) for name in ("G_A", "G_B"))
    judges, left_out = _judges({name: files[name] for name in ("D_A", "D_B") if name in files})
    networks = {"G": g, "F": f, **{{"D_A": "D_Y", "D_B": "D_X"}[name]: d for name, d in judges.items()}}
    model: dict[str, Any] = {"generator": g.settings}
    if judges:
        model["discriminator"] = next(iter(judges.values())).settings
    if g.into != g.out:
        model["lambda_identity"] = 0
    named = {"G": "G_A", "F": "G_B", "D_Y": "D_A", "D_X": "D_B"}
    facts = [line for name, network in networks.items() for line in _told(name, files[named[name]], network)]
    tree = {"model": model, "data": {"x": {"channels": g.into}, "y": {"channels": g.out}}}
    return Foreign("cyclegan", tree, _joined(networks), facts + left_out, [])


_Method = tuple[str, dict[str, Any], dict[str, Any], list[str]]
"""Its name, its settings, its input side, and what is assumed."""


def _pix2pix(networks: dict[str, Network]) -> _Method:
    """A generator alone may be half of a CycleGAN. Translating is the same: the one network, one way."""
    g = networks["G"]
    assumed = []
    settings = g.settings
    if g.kind == "U-Net":
        settings["dropout"] = True
        assumed.append(DROPOUT)
    if g.into > 4:
        assumed.append(
            f"data.x is an image of {g.into} channels; a BicycleGAN generator with its code beside the image looks the same: "
            "give the folder that also holds its E"
        )
    if "D" not in networks:
        assumed.append("the method is pix2pix, which goes one way; a generator of a CycleGAN is the same network")
    return "pix2pix", {"generator": settings, **_judge(networks)}, {"channels": g.into}, assumed


def _noisy(networks: dict[str, Network]) -> _Method:
    """BicycleGAN's generator without its E is what pix2pix with noise here has."""
    g = networks["G"]
    settings = g.settings
    z = networks["G"].weights["model.down.0.weight"].shape[1] - g.into
    if settings.pop("where") != "all" or settings["upsample"] == "bilinear":
        raise UserError("it is the generator of a BicycleGAN, without its encoder", "put the file of E beside that of G")
    model = {"generator": {"kind": "unet", "dropout": True, **settings}, "z": z}
    assumed = ["the method is pix2pix with noise, which is BicycleGAN without the file of E"]
    return "pix2pix", model, {"channels": g.into}, assumed


def _bicyclegan(networks: dict[str, Network]) -> _Method:
    g, e = networks["G"], networks["E"]
    conditional = {"conditional": networks["D"].into == g.into + g.out} if "D" in networks else {}
    model = {"generator": {"dropout": True, **g.settings}, "encoder": e.settings, "z": e.out, **_judge(networks), **conditional}
    return "bicyclegan", model, {"channels": g.into}, [DROPOUT]


def _pix2pixhd(networks: dict[str, Network]) -> _Method:
    """What G sees is a label map, one-hot, then the boundaries of things, then features; their sum alone is known."""
    g, e = networks["G"], networks.get("E")
    features = e.out if e else 0
    seen = g.into - features
    if not e and "D" in networks and (more := seen + g.out - networks["D"].into) > 0:
        hint = "put the file of E beside that of G"
        raise UserError(f"G sees {more} channels that D does not, the features of an encoder", hint)
    model = {"generator": g.settings, "features": features, **({"encoder": e.settings} if e else {}), **_judge(networks)}
    assumed = []
    if seen > 4:
        x: dict[str, Any] = {"channels": seen - 1, "labels": True, "instances": True}
        assumed.append(
            f"data.x is a label map of {seen - 1} classes with instances; without instances: --set data.x.instances=false "
            f"--set data.x.channels={seen}; an image of {seen} channels: --set data.x.labels=false as well"
        )
    else:
        x = {"channels": seen}
        assumed.append(
            f"data.x is an image of {seen} channels; a label map: --set data.x.labels=true, with instances also "
            f"--set data.x.instances=true --set data.x.channels={seen - 1}"
        )
    if features:
        assumed.append("no kind of thing is remembered, since these files do not hold them: without a style all features are 0")
    return "pix2pixhd", model, x, assumed


def _judge(networks: dict[str, Network]) -> dict[str, Any]:
    return {"discriminator": networks["D"].settings} if "D" in networks else {}


def _judges(files: dict[str, Path]) -> tuple[dict[str, Network], list[str]]:
    """Translating needs none of them, so that one that cannot be read is left out."""
    found, left_out = {}, []
    for name, file in files.items():
        try:
            found[name] = _recognised(recognise.discriminator, file)
        except UserError as error:
            left_out.append(f"{name} is left out: {error.message}")
    return found, left_out


def _told(name: str, file: Path, network: Network) -> list[str]:
    group = {"G": "generator", "F": None, "E": "encoder", "D": "discriminator", "D_Y": "discriminator"}.get(name)
    first = f"{name} ('{file.name}'): {network.kind}, {network.into} to {network.out} channels"
    read = network.read.items() if group else ()
    return [first, *(f"  model.{group}.{key}={str(value).lower()}  ({why})" for key, (value, why) in read)]


def _joined(networks: dict[str, Network]) -> Weights:
    return {f"{name}.{key}": tensor for name, network in networks.items() for key, tensor in network.weights.items()}


def _recognised(kind: Callable[[Weights], Network], file: Path) -> Network:
    weights = load(file)
    try:
        return kind(weights)
    except UserError as error:
        raise UserError(f"'{file}' is not known: {error.message}", error.hint) from None
    except (LookupError, TypeError, ValueError, AttributeError):  # names that promise one network and do not keep it
        raise UserError(f"'{file}' is not known: its weights are not those of one whole network") from None


# Files


def _files(path: Path) -> dict[str, Path]:
    """The file of each network: a generator's alone (and the encoder's beside it), or those of the newest epoch of a folder."""
    if not path.is_dir():
        beside = path.with_name(path.name.replace("net_G", "net_E"))
        return {"G": path, **({"E": beside} if beside != path and beside.is_file() else {})}
    newest = _stamps(path)
    if len(newest) > 1 and _age(newest[0]) == _age(newest[1]):
        raise UserError(f"'{path}' holds more than one model", "give the file of one generator")
    found = {match[2]: f for f in path.iterdir() if (match := NETWORKS.fullmatch(f.name)) and (match[1] or "") == newest[0]}
    if not {"G_A", "G_B"} <= found.keys():  # half of a CycleGAN is one generator
        found = {{"G_A": "G", "G_B": "G"}.get(name, name): file for name, file in sorted(found.items(), reverse=True)}
    return found


def _stamps(folder: Path) -> list[str]:
    """Whose generators lie there, such as "latest" and "200": the newest first."""
    matches = [NETWORKS.fullmatch(file.name) for file in folder.iterdir()]
    return sorted({match[1] or "" for match in matches if match and match[2].startswith("G")}, key=_age, reverse=True)


def _age(stamp: str) -> tuple[bool, bool, int]:
    number = re.search(r"\d+$", stamp)
    return stamp == "latest", stamp.isdecimal(), int(number[0]) if number else -1
