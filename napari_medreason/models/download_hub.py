"""What a download of catalogued weights will fetch, asked of the model hub or of the files' own servers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

from napari_medreason.errors import WeightsError
from napari_medreason.models.catalogue import Weights, is_safe_name
from napari_medreason.models.download import RemoteFile
from napari_medreason.models.settings import HUB, Settings
from napari_medreason.models.store_files import chosen_files
from napari_medreason.models.store_record import Record


@dataclass(frozen=True)
class Plan:
    """Files to fetch and the revision of the repository that they belong to, "" outside the hub."""

    revision: str
    files: tuple[RemoteFile, ...]

    @property
    def size(self) -> int | None:
        """Bytes of all files together; None when a server does not say."""
        sizes = [file.size for file in self.files]
        return None if None in sizes else sum(size for size in sizes if size is not None)


def make_plan(entry: Weights, settings: Settings, record: Record | None) -> Plan:
    """Ask what there is to fetch; the revision is the catalogue's, else the recorded one, else the newest.

    WeightsError when nobody knows where the files are, in offline mode, when the server can't be reached,
    and when it wants a login.
    """
    check_reachable(entry, settings)
    if not entry.repository:
        return Plan("", tuple(_asked(RemoteFile(f.name, f.url, f.size, f.sha256)) for f in entry.files))
    recorded = record.revision if record is not None and record.repository == entry.repository else ""
    revision = entry.revision or recorded
    token = _token(entry, settings)
    info = _repository(entry, settings, revision, token)
    if not info.sha:
        raise WeightsError(f"{settings.base_url} does not say which revision of {entry.repository} it has")
    remote = {one.rfilename: one for one in info.siblings or () if is_safe_name(one.rfilename)}
    names = chosen_files(entry, remote)
    files = (_remote_file(entry, settings, info.sha, remote[name]) for name in names)
    return Plan(info.sha, tuple(replace(file, token=token) for file in files))


def check_reachable(entry: Weights, settings: Settings) -> None:
    """WeightsError when these weights can't be downloaded by this program, or not in offline mode."""
    from huggingface_hub import constants

    by_hand = f"`medreason models use {entry.id} FOLDER` takes a copy that you have"
    if not entry.downloadable:
        where = f" from {entry.page}" if entry.page else ""
        raise WeightsError(f"{entry.title} can only be downloaded by hand{where}; then {by_hand}")
    if settings.offline or constants.HF_HUB_OFFLINE:
        why = "in the settings" if settings.offline else "by the environment variable HF_HUB_OFFLINE"
        raise WeightsError(f"{entry.title} can't be downloaded: offline mode is set {why}; {by_hand}")


def gated_advice(entry: Weights, token: str | None) -> WeightsError:
    """What to do when the server wants a login or accepted terms."""
    page = f"{HUB}/{entry.repository}"
    what = "the token that was found was refused" if token else "no token was found"
    return WeightsError(
        f"{entry.title} is given only to people who accepted its terms, and {what}: accept them at {page}, "
        "then log in with `hf auth login` or set HF_TOKEN, and start again"
    )


def _token(entry: Weights, settings: Settings) -> str | None:
    """The user's own token, from the environment or the hub's login; to mirrors only if it must be.

    It is never sent over a connection that others can read.
    """
    from huggingface_hub import get_token

    address = urlsplit(settings.base_url)
    private = address.scheme == "https" or address.hostname in ("localhost", "127.0.0.1", "::1")
    return get_token() if private and (entry.gated or settings.base_url == HUB) else None


def _repository(entry: Weights, settings: Settings, revision: str, token: str | None) -> Any:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError
    from huggingface_hub.errors import HTTPError as AnyHttpError  # type: ignore[attr-defined]

    from napari_medreason.models.http import READ_SECONDS

    api = HfApi(endpoint=settings.base_url, token=token or False)
    try:
        return api.model_info(
            entry.repository, revision=revision or None, files_metadata=True, timeout=READ_SECONDS
        )
    except GatedRepoError as error:
        raise gated_advice(entry, token) from error
    except RevisionNotFoundError as error:
        raise WeightsError(
            f"{entry.repository} has no revision {revision[:12]}… at {settings.base_url}; check base_url, or "
            "use a folder of your own"
        ) from error
    except RepositoryNotFoundError as error:
        if entry.gated and error.response.status_code != 404:
            raise gated_advice(entry, token) from error
        raise WeightsError(
            f"{entry.repository} is not at {settings.base_url} (any more); check base_url, or use a folder "
            "of your own"
        ) from error
    except (AnyHttpError, ValueError, TypeError, KeyError) as error:
        raise WeightsError(
            f"{settings.base_url} can't be asked for {entry.title} ({type(error).__name__}); check the "
            f"network and base_url, or use a copy that you have: `medreason models use {entry.id} FOLDER`"
        ) from error


def _remote_file(entry: Weights, settings: Settings, revision: str, sibling: Any) -> RemoteFile:
    from huggingface_hub import hf_hub_url

    known = next((file for file in entry.files if file.name == sibling.rfilename), None)
    sha256 = sibling.lfs.sha256 if sibling.lfs is not None else ""
    if known is not None and known.sha256 and sha256 and known.sha256 != sha256:
        raise WeightsError(
            f"{sibling.rfilename} at {settings.base_url} is not the file that is known (its hash differs); "
            "nothing was downloaded, check base_url"
        )
    url = hf_hub_url(entry.repository, sibling.rfilename, revision=revision, endpoint=settings.base_url)
    return RemoteFile(
        sibling.rfilename, url, size=sibling.size, sha256=(known.sha256 if known else "") or sha256
    )


def _asked(file: RemoteFile) -> RemoteFile:
    """The file with its size, where its server says that."""
    from napari_medreason.models.http import ConnectionLostError, size_of

    try:
        return file if file.size is not None else replace(file, size=size_of(file.url))
    except ConnectionLostError as error:
        raise WeightsError(
            f"the server of {file.name} can't be reached ({error}); check the network, or use a copy that "
            "you have"
        ) from error
