"""Data flows one way: a module imports only from its own layer or a lower one."""

import ast
import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest

import hwsim

PACKAGE = Path(hwsim.__file__).parent
LAYERS = [
    {"errors", "units", "message", "files", "yaml_source", "fields", "lazy", "plug_ins"},
    {"workload"},
    {"algorithms", "mapping", "kernels", "engine", "energy", "compression"},
    {"machines", "timeloop"},
    {"simulation", "report", "scenario", "serving", "requests", "training", "parallel"},
    {"validation", "sweeps", "exploration", "calibration", "cli", "__main__"},
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}


def imports(path: Path) -> set[str]:
    """Top-level hwsim modules that a file imports when it runs (type-checking imports cost nothing and bind nothing)."""
    found: set[str] = set()

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            return
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("hwsim."):
            found.add(node.module.split(".")[1])
        if isinstance(node, ast.Import):
            found.update(name.name.split(".")[1] for name in node.names if name.name.startswith("hwsim."))
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(path.read_text(encoding="utf-8")))
    return found


def test_every_module_has_a_layer() -> None:
    names = {path.stem if path.suffix else path.name for path in PACKAGE.iterdir() if not path.name.startswith("_")}
    assert names - {"py", "arch_configs", "workloads", "py.typed"} <= set(LEVEL)


@pytest.mark.slow
def test_no_module_imports_from_a_higher_layer() -> None:
    wrong = []
    for path in PACKAGE.rglob("*.py"):
        top = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if top == "__init__":
            continue
        wrong += [f"{path.name} imports {name}" for name in imports(path) if LEVEL[name] > LEVEL[top]]
    assert not wrong


def test_every_package_is_installed() -> None:
    project = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text(encoding="utf-8"))
    found = {".".join(path.parent.relative_to(PACKAGE.parent).parts) for path in PACKAGE.rglob("__init__.py")}
    assert found | {"hwsim.arch_configs", "hwsim.workloads"} == set(project["tool"]["setuptools"]["packages"])


def test_machines_see_no_kind_of_layer() -> None:
    """What a layer asks for is said once, by `Layer.lower`: nothing outside `workload` asks which kind it is."""
    from hwsim import workload

    kinds = {
        name
        for name in workload.__all__
        if isinstance(cls := getattr(workload, name), type) and issubclass(cls, workload.Layer)
    }
    kinds -= {"Layer"}
    wrong = []
    for path in PACKAGE.rglob("*.py"):
        if path.relative_to(PACKAGE).parts[0] == "workload":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id in ("isinstance", "type")
            ):
                names = {leaf.id for leaf in ast.walk(node) if isinstance(leaf, ast.Name)}
                wrong += [f"{path.name}:{node.lineno} asks for {name}" for name in names & kinds]
    assert not wrong
    assert {"Conv2d", "Gemm", "Softmax"} <= kinds


def test_modules_import_each_other_in_no_circle() -> None:
    """Of what is imported when hwsim is: a circle works only from one of its ends."""
    modules = _modules()
    reads = {name: _read(path, modules) - {name} for name, path in modules.items()}
    while ready := [name for name, needs in reads.items() if not needs & reads.keys()]:
        for name in ready:
            del reads[name]
    assert not reads, "these wait for each other"


@pytest.mark.slow
def test_no_circle_of_any_import() -> None:
    """A circle through a function or an annotation is one too: neither of its modules can be read without the other."""
    modules = _modules()
    needs = {name: _read(path, modules, everywhere=True) for name, path in modules.items()}
    wrong = []
    for name in modules:
        reached: set[str] = set()
        ahead = set(needs[name])
        while ahead:
            reached |= ahead
            ahead = set().union(*(needs[other] for other in ahead)) - reached
        wrong += [name] if name in reached else []
    assert not wrong


def _modules() -> dict[str, Path]:
    """Every module but the package's own, which imports names when they are used."""
    return {
        ".".join(("hwsim", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__"): path
        for path in PACKAGE.rglob("*.py")
        if path != PACKAGE / "__init__.py"
    }


def _read(path: Path, modules: Mapping[str, Path], everywhere: bool = False) -> set[str]:
    """Modules that a file imports as it is imported itself, or `everywhere` in it."""
    names: set[str] = set()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree) if everywhere else tree.body:
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {name if (name := f"{node.module}.{item.name}") in modules else node.module for item in node.names}
        elif isinstance(node, ast.Import):
            names |= {item.name for item in node.names}
    return names & modules.keys()
