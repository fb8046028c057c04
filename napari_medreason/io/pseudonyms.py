"""Pseudonyms of patients and studies, under a secret of the installation."""

from __future__ import annotations

import hmac
import os
import secrets
from hashlib import sha256
from pathlib import Path

import platformdirs

from napari_medreason.errors import ExportError
from napari_medreason.io.atomic import replace_file

KEY_VARIABLE = "MEDREASON_PSEUDONYM_KEY_FILE"
"""Environment variable with the file of the installation's key, where it is not in the usual place."""
_LENGTH = 16


def pseudonym(kind: str, identifier: str, secret: bytes) -> str:
    """A name that does not tell whose it is: `kind`, such as "p" or "s", and a keyed digest."""
    return f"{kind}-{hmac.new(secret, identifier.encode(), sha256).hexdigest()[:_LENGTH]}"


def installation_key() -> bytes:
    """The secret of the installation, made at the first use; ExportError when it can't be kept."""
    usual = platformdirs.user_data_path("napari-medreason") / "pseudonym.key"
    path = Path(os.environ.get(KEY_VARIABLE, usual))
    try:
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            with replace_file(path) as temporary:
                temporary.touch(mode=0o600)
                temporary.write_text(secrets.token_hex(32), encoding="ascii")
        return bytes.fromhex(path.read_text(encoding="ascii").strip())
    except (OSError, ValueError) as error:
        raise ExportError(
            f"the key for pseudonyms can't be read or kept; name a file in {KEY_VARIABLE}"
        ) from error
