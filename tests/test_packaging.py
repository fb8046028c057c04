"""What is installed is what is on disk, and importing it stays light."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HEAVY = {"torch", "transformers", "napari", "qtpy", "PyQt6", "skimage", "SimpleITK"}


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_every_package_folder_is_installed():
    listed = set(project()["tool"]["setuptools"]["packages"])
    folders = {
        ".".join(path.parent.relative_to(ROOT).parts)
        for top in ("napari_medreason", "training", "sample_data")
        for path in (ROOT / top).rglob("__init__.py")
    }
    mapped = {
        name.replace("training", "napari_medreason_training", 1) if name.startswith("training") else name
        for name in folders
    }
    mapped = {"napari_medreason_sample_data" if name == "sample_data" else name for name in mapped}
    assert listed == mapped | {"napari_medreason_manifest"}


@pytest.mark.parametrize(
    ("module", "allowed"),
    [
        ("napari_medreason", set()),
        ("napari_medreason.cli", set()),
        ("napari_medreason.napari_hooks", set()),
        ("napari_medreason.models", set()),
        ("napari_medreason.engine.client", set()),
        ("napari_medreason._qt.ask_widget", {"napari", "qtpy", "PyQt6", "skimage"}),
    ],
)
def test_importing_stays_light(module, allowed):
    code = f"import sys, {module}; print('\\n'.join(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd="/")
    loaded = {name.partition(".")[0] for name in run.stdout.split()}
    assert not (HEAVY - allowed) & loaded


def test_version_is_said_once():
    code = "import napari_medreason; print(napari_medreason.__version__)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == project()["project"]["version"]


def test_large_files_stay_small():
    """Weights may be 16 MB a file and 24 MB together, samples 8 MB together, anything else 1 MB."""
    files = subprocess.run(
        ["git", "ls-files", "-z"], capture_output=True, text=True, cwd=ROOT, check=False
    ).stdout.split("\0")
    sizes = {name: (ROOT / name).stat().st_size for name in files if name and (ROOT / name).is_file()}
    if not sizes:
        pytest.skip("not a git checkout")
    weights = {name: size for name, size in sizes.items() if name.endswith(".safetensors")}
    samples = {name: size for name, size in sizes.items() if name.startswith("sample_data/")}
    others = {n: s for n, s in sizes.items() if n not in weights and n not in samples}
    assert all(size <= 16e6 for size in weights.values())
    assert sum(weights.values()) <= 24e6
    assert sum(samples.values()) <= 8e6
    assert not [name for name, size in others.items() if size > 1e6]
