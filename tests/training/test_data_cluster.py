"""The same data set from a Ray cluster as from one process."""

from __future__ import annotations

import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from napari_medreason.errors import DataSetError
from napari_medreason_training.data.build import build
from napari_medreason_training.data.cases import Case
from napari_medreason_training.data.cluster import Each, cluster
from napari_medreason_training.data.config import WriterConfig, read_build_config

from .data_cases import config_file, pair_folder

pytestmark = pytest.mark.filterwarnings(
    r"ignore:.*is deprecated:DeprecationWarning:ray\..*"  # Ray sets its own deprecated options
)
FILES = ("records.jsonl", "card.md", "left_out.json")


@pytest.fixture(scope="module")
def ray_each() -> Iterator[Each]:
    """The `map` of a local cluster with two workers; its access token is not left in the home folder."""
    ray = pytest.importorskip("ray", reason="Ray is not installed; it comes with napari-medreason[cluster]")
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
        patched.setenv("RAY_USAGE_STATS_ENABLED", "0")
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
        try:
            with cluster(WriterConfig()) as each:
                yield each
        finally:
            ray.shutdown()


def studies(folder: Path) -> Path:
    """Seven studies: a copy of the first, one with a damaged mask, five good ones."""
    toy = pair_folder(folder / "toy", patients=6)
    for kind, ending in (("images", ""), ("labels", "_seg")):
        content = (toy / kind / f"p0{ending}.nii.gz").read_bytes()
        (toy / kind / f"p9{ending}.nii.gz").write_bytes(content)
    (toy / "labels" / "p3_seg.nii.gz").write_bytes(b"not a NIfTI file")
    return config_file(folder, "[split]\ntest = 0.34")


def built(config: Path, system: str, each: Each) -> tuple[dict[str, bytes], list]:
    progress: list = []
    result = build(system, read_build_config(config), config.parent, progress.append, each=each)
    return {name: (result.folder / name).read_bytes() for name in FILES}, progress


@pytest.mark.parametrize("system", ["medpos", "mlmr-sd", "u-mrg"])
def test_a_cluster_gives_the_same_bytes_and_progress(tmp_path, ray_each, system):
    config = studies(tmp_path)
    plain = built(config, system, map)
    for name in FILES:
        (tmp_path / "out" / name).unlink()
    assert plain[0]["records.jsonl"].count(b"\n") > 10
    assert b"copy of another case" in plain[0]["left_out.json"]
    assert b"mask can't be read" in plain[0]["left_out.json"]
    assert built(config, system, ray_each) == plain


def test_texts_come_in_the_order_of_the_cases_however_long_each_takes(ray_each, tmp_path):
    def slow_at_first(case: Case) -> str:
        time.sleep(3 if case.id == "0" else 0)
        return f"é {case.id}\n"

    cases = [Case("toy", str(number), "p", tmp_path, "", ()) for number in range(6)]
    assert list(ray_each(slow_at_first, cases)) == [f"é {number}\n" for number in range(6)]
    assert list(ray_each(slow_at_first, [])) == []


def test_a_build_that_was_stopped_goes_on_on_the_cluster(tmp_path, ray_each):
    config = studies(tmp_path)
    whole, _ = built(config, "medpos", map)
    (tmp_path / "out" / "records.jsonl").unlink()

    def stop(progress) -> None:
        if progress.cases == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build("medpos", read_build_config(config), config.parent, stop)
    files, progress = built(config, "medpos", ray_each)
    assert files == whole
    assert progress[-1].resumed == 3


def test_a_file_that_is_gone_ends_the_build_with_one_line(tmp_path, ray_each):
    case = Case("toy", "p0", "p0", tmp_path, "gone.nii.gz", ())
    from napari_medreason_training.data.build import _fingerprint

    with pytest.raises(DataSetError, match=r"^gone.nii.gz of source 'toy' can't be read: [^\n]*$"):
        list(ray_each(_fingerprint, [case]))


def test_the_command_without_ray_names_the_extra(tmp_path):
    code = (
        "import sys; sys.modules['ray'] = None\n"
        "from napari_medreason_training.__main__ import main\n"
        f"sys.exit(main(['dataset', 'build', 'medpos', {str(config_file(tmp_path))!r}, '--cluster']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "--cluster needs Ray; install napari-medreason[cluster] or leave --cluster out\n"
    assert not (tmp_path / "out").exists()


def test_a_writer_with_a_file_of_texts_is_refused_before_anything_starts():
    with (
        pytest.raises(DataSetError, match="works with the template writer"),
        cluster(WriterConfig(kind="endpoint", model="m", address="http://127.0.0.1:1/v1")),
    ):
        pytest.fail("not reached")


def test_the_log_files_of_ray_hold_no_path_and_no_patient(tmp_path, ray_each):
    import ray

    built(studies(tmp_path), "medpos", ray_each)
    logs = Path(ray._private.worker.global_worker.node.get_logs_dir_path())
    texts = [path.read_bytes() for path in logs.rglob("*") if path.is_file()]
    assert texts
    assert not [text for text in texts if b"p3_seg" in text or bytes(tmp_path / "toy") in text]
