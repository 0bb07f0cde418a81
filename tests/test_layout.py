"""Where things are, and who may import whom (DESIGN.md)."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import priorfit

PACKAGE = Path(priorfit.__file__).parent
ROOT = Path(__file__).parents[1]
TRAINING_ONLY = {"lightning", "pytorch_lightning", "hydra", "omegaconf", "wandb"}
MAY_NOT_IMPORT = {  # part of the package: modules that it knows nothing of
    "registry.py": {"priorfit", "torch", "sklearn", *TRAINING_ONLY},
    "distributions": {*TRAINING_ONLY, "sklearn", "priorfit.priors", "priorfit.models"},
    "priors": {*TRAINING_ONLY, "sklearn", "priorfit.models", "priorfit.checkpoints"},
    "models": {*TRAINING_ONLY, "sklearn", "priorfit.priors", "priorfit.checkpoints"},
    "predictors": {*TRAINING_ONLY, "priorfit.training", "priorfit.evaluation"},
    "task_files": {*TRAINING_ONLY, "sklearn", "priorfit.models", "priorfit.checkpoints"},
    "checkpoints.py": {*TRAINING_ONLY, "sklearn", "priorfit.training", "priorfit.evaluation"},
}
UPPER = {"priorfit.training", "priorfit.evaluation", "priorfit.predictors"}
for lower in ("distributions", "priors", "models", "task_files"):
    MAY_NOT_IMPORT[lower] |= UPPER


def imported(file: Path) -> Iterator[str]:
    """Modules that a file imports anywhere; `from package import name` counts as package.name too."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = file.relative_to(PACKAGE.parent).with_suffix("").parts
            base = ".".join(parents[: len(parents) - node.level]) if node.level else ""
            module = ".".join(part for part in (base, node.module) if part)
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


def files(part: str) -> list[Path]:
    path = PACKAGE / part
    return [path] if path.is_file() else sorted(path.rglob("*.py"))


def is_inside(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def python(code: str) -> subprocess.CompletedProcess:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120
    )


@pytest.mark.parametrize("name", ["priors", "models", "configs"])
def test_links_at_the_root_lead_into_the_package(name: str) -> None:
    link = ROOT / name
    if not link.is_symlink():
        pytest.skip("no links here: a source archive, or a file system without them")
    assert os.readlink(link) == f"priorfit/{name}"
    assert link.resolve() == (ROOT / "priorfit" / name).resolve()
    assert any(link.iterdir())


@pytest.mark.parametrize("name", ["priors", "models"])
@pytest.mark.parametrize("form", ["import {}", "from {} import base", "import {}.base"])
def test_importing_through_a_link_names_the_right_module(name: str, form: str) -> None:
    if not (ROOT / name).is_symlink():
        pytest.skip("no links here")
    result = python(form.format(name))
    assert result.returncode != 0
    assert result.stderr.strip().splitlines()[-1].startswith(f"ImportError: Import 'priorfit.{name}', not '{name}'")


@pytest.mark.parametrize("part", MAY_NOT_IMPORT)
def test_imports_point_one_way(part: str) -> None:
    wrong = [
        f"{file.relative_to(PACKAGE)}: {module}"
        for file in files(part)
        for module in imported(file)
        for forbidden in MAY_NOT_IMPORT[part]
        if is_inside(module, forbidden)
    ]
    assert not wrong


def test_parts_of_the_package_do_not_import_in_circles() -> None:
    """Folders and files directly in the package are the parts; a folder may import within itself."""
    parts = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or path.is_dir()} - {"__init__"}
    graph: dict[str, set[str]] = {part: set() for part in parts}
    for file in PACKAGE.rglob("*.py"):
        part = file.relative_to(PACKAGE).parts[0].removesuffix(".py")
        targets = {module.split(".")[1] for module in imported(file) if module.startswith("priorfit.")}
        graph.setdefault(part, set()).update(targets & parts - {part})
    order = list(TopologicalSorter(graph).static_order())  # raises CycleError, which names the circle
    assert set(order) >= parts


@pytest.mark.parametrize(
    ("modules", "forbidden"),
    [
        (["distributions", "priors", "models"], {"lightning", "hydra", "sklearn", "wandb", "matplotlib"}),
        (["predictors"], {"lightning", "hydra", "wandb", "matplotlib"}),
        (["checkpoints", "hub"], {"lightning", "hydra", "wandb", "sklearn", "matplotlib"}),
    ],
)
def test_importing_stays_light(modules: list[str], forbidden: set[str]) -> None:
    names = [f"priorfit.{module}" for module in modules]
    if not all(
        (PACKAGE / module / "__init__.py").exists() or (PACKAGE / f"{module}.py").exists() for module in modules
    ):
        pytest.skip("not written yet")
    result = python(f"import sys, {', '.join(names)}; print(*sys.modules)")
    assert result.returncode == 0, result.stderr
    loaded = {module.split(".")[0] for module in result.stdout.split()}
    assert not loaded & forbidden


def test_importing_priorfit_itself_imports_nothing_heavy() -> None:
    result = python("import sys, priorfit; print(*sys.modules)")
    assert result.returncode == 0, result.stderr
    assert not {"torch", "lightning", "hydra", "sklearn"} & set(result.stdout.split())


def test_every_folder_with_code_is_a_package() -> None:
    folders = {file.parent for file in PACKAGE.rglob("*.py")}
    assert not [folder for folder in folders if not (folder / "__init__.py").exists()]
