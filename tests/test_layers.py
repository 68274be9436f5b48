"""The import graph of the package: imports point down, methods and training never meet, nothing goes in circles."""

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import i2i

ROOT = Path(i2i.__file__).parent
LEVELS = [
    {"images", "decoders", "encoders", "tiff", "config", "domain", "settings", "atomic", "errors", "memory"},
    {"method", "networks", "losses"},
    {"training", "methods", "data", "metrics"},
    set(),  # runs, translate, and whatever else lies in the package itself
    {"cli", "__main__"},
]


def name_of(file: Path) -> str:
    parts = file.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(file): file for file in sorted(ROOT.rglob("*.py"))}


def imported(statement: ast.AST) -> Iterator[str]:
    """The modules that one statement names; `from i2i import images` names i2i.images."""
    if isinstance(statement, ast.Import):
        yield from (alias.name for alias in statement.names)
    elif isinstance(statement, ast.ImportFrom):
        assert statement.level == 0, "imports are absolute here"
        for alias in statement.names:
            whole = f"{statement.module}.{alias.name}"
            yield whole if whole in MODULES else str(statement.module)


def everywhere(tree: ast.Module) -> set[str]:
    """Imports at the top and inside functions."""
    return {name for statement in ast.walk(tree) for name in imported(statement)}


def at_import(tree: ast.Module) -> set[str]:
    """What importing the module itself imports: nothing from function bodies or from below `if TYPE_CHECKING`."""
    names: set[str] = set()
    waiting: list[ast.AST] = list(tree.body)
    while waiting:
        statement = waiting.pop()
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(statement, ast.If) and "TYPE_CHECKING" in ast.dump(statement.test):
            continue
        names.update(imported(statement))
        waiting += ast.iter_child_nodes(statement)
    return names


TREES = {name: ast.parse(file.read_text()) for name, file in MODULES.items()}
GRAPH = {name: {n for n in everywhere(tree) if n in MODULES} - {name} for name, tree in TREES.items()}


def part(module: str) -> str:
    """The first name below the package: "training" for i2i.training.update, "" for the package itself."""
    return [*module.split("."), ""][1]


def level(module: str) -> int:
    found = [n for n, names in enumerate(LEVELS) if part(module) in names]
    return found[0] if found else 3


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_down(module) -> None:
    up = {other for other in GRAPH[module] if level(other) > level(module)}
    assert not up, f"{module} must not import {', '.join(up)}: see LEVELS"


@pytest.mark.parametrize(
    ("one", "other"), [("methods", "training"), ("training", "methods"), ("methods", "data"), ("data", "methods")]
)
def test_methods_meet_neither_the_training_nor_the_data(one, other) -> None:
    assert not {f"{a} imports {b}" for a, names in GRAPH.items() if part(a) == one for b in names if part(b) == other}


def test_data_does_not_know_who_trains_on_it() -> None:
    assert not {f"{a} imports {b}" for a, names in GRAPH.items() if part(a) == "data" for b in names if part(b) == "training"}


def test_networks_and_losses_know_neither_settings_nor_files() -> None:
    allowed = {"networks", "losses", "errors"}
    known = {f"{a} imports {b}" for a, names in GRAPH.items() if part(a) in allowed for b in names if part(b) not in allowed}
    assert not known


def test_metrics_are_plain_functions_on_tensors() -> None:
    allowed = {"metrics", "networks", "errors"}
    assert not {
        f"{a} imports {b}" for a, names in GRAPH.items() if part(a) == "metrics" for b in names if part(b) not in allowed
    }


def test_there_are_no_cycles() -> None:
    try:
        TopologicalSorter(GRAPH).prepare()
    except CycleError as error:
        pytest.fail(f"a cycle of imports: {' -> '.join(error.args[1])}")


def test_the_command_line_reaches_no_torch_when_it_is_imported() -> None:
    heavy = {"torch", "torchvision", "cv2", "safetensors", "tensorboard"}
    waiting = [name for name in MODULES if part(name) in ("cli", "__main__")]
    came_from = dict.fromkeys(waiting, "")
    while waiting:
        module = waiting.pop()
        names = at_import(TREES[module])
        found = {name for name in names if name.split(".")[0] in heavy}
        assert not found, (
            f"{module} imports {', '.join(found)}, and {came_from[module] or 'it'} is imported by the command line"
        )
        for name in names & MODULES.keys():
            for package in (name, name.rpartition(".")[0]):  # importing a module imports its package
                if package in MODULES and package not in came_from:
                    came_from[package] = module
                    waiting.append(package)


def test_the_graph_sees_what_it_should() -> None:
    assert "i2i.methods.parts" in GRAPH["i2i.methods.pix2pix"]
    assert "i2i.images" in GRAPH["i2i.domain"]
    assert (
        level("i2i.cli.train") > level("i2i.runs") > level("i2i.training.trainer") > level("i2i.method") > level("i2i.errors")
    )
