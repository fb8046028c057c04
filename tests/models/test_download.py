"""One file over HTTP against a server on this machine."""

import errno
import hashlib
from pathlib import Path

import pytest

from napari_medreason.errors import CancelledError, WeightsError
from napari_medreason.models import download
from napari_medreason.models.download import RefusedError, RemoteFile, fetch, part_of

from .fake_hub import REVISION, Hub, start

CONTENT = bytes(range(256)) * 4096  # 1 MiB
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def hub(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr(download, "WAIT_SECONDS", 0.001)
    hub = Hub({"lab/model": {"model.pt": CONTENT}})
    server = start(hub)
    yield hub
    server.shutdown()
    server.server_close()


@pytest.fixture
def get(hub, tmp_path):
    """Fetch model.pt; gives the SHA-256 and the counts that were told."""

    def get(*, cancelled=lambda: False, target=tmp_path / "model.pt", **changes):
        facts = {"size": len(CONTENT), "sha256": SHA256, **changes}
        file = RemoteFile("model.pt", f"{hub.url}/lab/model/resolve/{REVISION}/model.pt", **facts)
        counts = []
        return fetch(file, target, on_bytes=counts.append, cancelled=cancelled), counts

    return get


def test_the_file_arrives_whole_and_its_bytes_are_counted(get, tmp_path):
    digest, counts = get()
    assert digest == SHA256
    assert (tmp_path / "model.pt").read_bytes() == CONTENT
    assert counts[0] == 0
    assert counts[-1] == len(CONTENT)
    assert counts == sorted(counts)
    assert [file.name for file in tmp_path.iterdir()] == ["model.pt"]


def test_a_dropped_connection_goes_on_at_the_byte_where_it_broke(get, hub):
    hub.drop_after = [300_000, 200_000]
    assert get()[0] == SHA256
    assert hub.downloads() == ["model.pt", "model.pt bytes=300000-", "model.pt bytes=500000-"]


def test_a_cancelled_download_goes_on_later_without_the_first_half(get, hub, tmp_path):
    seen = []
    with pytest.raises(CancelledError):
        get(cancelled=lambda: seen.append(1) or len(seen) > 8)
    kept = part_of(tmp_path / "model.pt").stat().st_size
    assert 0 < kept < len(CONTENT)
    assert not (tmp_path / "model.pt").exists()
    digest, counts = get()
    assert (digest, counts[0]) == (SHA256, kept)
    assert hub.downloads()[-1] == f"model.pt bytes={kept}-"


def cut_short(get, hub):
    """Stop a download of a file without a known hash in the middle."""
    calls = []
    with pytest.raises(CancelledError):
        get(sha256="", cancelled=lambda: calls.append(1) or len(calls) > 8)


def test_another_version_on_the_server_begins_anew(get, hub, tmp_path):
    cut_short(get, hub)
    hub.etag, hub.repositories["lab/model"]["model.pt"] = '"two"', CONTENT[::-1]
    digest, counts = get(sha256="")
    assert digest == hashlib.sha256(CONTENT[::-1]).hexdigest()
    assert counts[0] == 0
    assert (tmp_path / "model.pt").read_bytes() == CONTENT[::-1]


@pytest.mark.parametrize("etag", ["", 'W/"weak"'])
def test_without_hash_and_strong_tag_nothing_is_pieced_together(get, hub, etag):
    hub.etag = etag
    cut_short(get, hub)
    get(sha256="")
    assert hub.downloads() == ["model.pt", "model.pt"]


def test_a_server_without_ranges_sends_all_again(get, hub, tmp_path):
    hub.ranges, hub.drop_after = False, [300_000]
    digest, counts = get()
    assert digest == SHA256
    assert counts.count(0) == 2
    assert (tmp_path / "model.pt").stat().st_size == len(CONTENT)


def test_a_wrong_hash_leaves_nothing_behind(get, tmp_path):
    with pytest.raises(WeightsError, match=r"model\.pt is not what it should be.*nothing was kept"):
        get(sha256="0" * 64)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_first_half_is_noticed_and_can_be_got_again(get, tmp_path):
    calls = []
    with pytest.raises(CancelledError):
        get(cancelled=lambda: calls.append(1) or len(calls) > 8)
    part = part_of(tmp_path / "model.pt")
    part.write_bytes(b"x" + part.read_bytes()[1:])
    with pytest.raises(WeightsError, match="SHA-256"):
        get()
    assert get()[0] == SHA256


def test_a_file_shorter_than_promised_is_refused(get, hub):
    with pytest.raises(WeightsError, match="has 1048576 bytes of the 1048581"):
        get(size=len(CONTENT) + 5, sha256="")


def test_a_file_longer_than_promised_is_refused(get):
    with pytest.raises(WeightsError, match="more than the 1000 bytes"):
        get(size=1000, sha256="")


def test_a_busy_server_is_asked_again_and_a_dead_one_not_for_ever(get, hub, tmp_path):
    hub.statuses = [503, 429]
    assert get()[0] == SHA256
    hub.statuses = [500] * 20
    with pytest.raises(WeightsError, match=r"could not be downloaded \(the server answered HTTP 500\)"):
        get(target=tmp_path / "other.pt")
    assert len(hub.statuses) == 20 - download.ATTEMPTS


def test_progress_earns_new_attempts(get, hub):
    hub.drop_after = [50_000] * 12
    assert get()[0] == SHA256


@pytest.mark.parametrize(("token", "status"), [(None, 401), ("wrong", 403)])
def test_a_file_that_needs_a_login_is_told_apart(get, hub, token, status):
    hub.token = "right"
    with pytest.raises(RefusedError, match=f"login or accepted terms.*{status}"):
        get(token=token)


def test_a_token_does_not_follow_to_another_host(get, hub):
    other = Hub({"lab/model": {"model.pt": CONTENT}})
    server = start(other)
    try:
        hub.token, hub.content_host = "right", other.url
        assert get(token="right")[0] == SHA256
        (_, first), (_, second) = hub.requests[0], other.requests[0]
        assert first["authorization"] == "Bearer right"
        assert "authorization" not in second
    finally:
        server.shutdown()
        server.server_close()


def test_a_login_page_is_not_taken_for_weights(get, hub):
    hub.web_page = True
    with pytest.raises(WeightsError, match="sent a web page"):
        get()


def test_a_file_that_is_gone_is_told(get, hub):
    hub.repositories["lab/model"] = {}
    with pytest.raises(WeightsError, match=r"model\.pt is not \(any more\) where it should be"):
        get()


def test_a_full_disk_is_told_and_what_is_there_is_kept(get, monkeypatch, tmp_path):
    real_open = Path.open

    def open_small(self, mode="r", *arguments, **options):
        stream = real_open(self, mode, *arguments, **options)
        return _SmallDisk(stream) if self.suffix == ".part" and "r" not in mode else stream

    monkeypatch.setattr(Path, "open", open_small)
    with pytest.raises(WeightsError, match=r"the disk is full while model\.pt"):
        get()
    monkeypatch.undo()
    assert 0 < part_of(tmp_path / "model.pt").stat().st_size < len(CONTENT)


class _SmallDisk:
    """A file on a disk with room for three blocks."""

    def __init__(self, stream):
        self._stream, self._blocks = stream, 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._stream.close()

    def write(self, block):
        self._blocks += 1
        if self._blocks > 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        return self._stream.write(block)

    def __getattr__(self, name):
        return getattr(self._stream, name)


def test_no_server_at_all_is_told_in_one_line(get, hub, monkeypatch):
    hub.url = "http://127.0.0.1:9"
    with pytest.raises(WeightsError, match="could not be downloaded") as fault:
        get()
    assert "\n" not in str(fault.value)
