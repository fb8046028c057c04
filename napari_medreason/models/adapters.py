"""The user's adapters: what a run has learnt, put on the model that it was made for; see adapter_store.

No torch here but in `merge`, which loads the base.
"""

from napari_medreason.models.adapted import named_adapter
from napari_medreason.models.adapter_archive import export_zip, import_from
from napari_medreason.models.adapter_merge import merge
from napari_medreason.models.adapter_store import (
    Adapter,
    accept,
    adapters_root,
    checked,
    get,
    installed,
    remove,
)

__all__ = [
    "Adapter",
    "accept",
    "adapters_root",
    "checked",
    "export_zip",
    "get",
    "import_from",
    "installed",
    "merge",
    "named_adapter",
    "remove",
]
