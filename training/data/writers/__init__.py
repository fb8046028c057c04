"""Writers of texts: templates (offline), a local language model, or an OpenAI-compatible server."""

from __future__ import annotations

from collections.abc import Sequence

from napari_medreason.core.templates import Template

from ..config import BuildConfig
from .cache import TextCache
from .checked import CheckedWriter
from .task import Writer
from .template import TemplateWriter


def make_writer(config: BuildConfig, templates: Sequence[Template], cache: TextCache) -> Writer:
    """The writer that a configuration names; DataSetError when it can't be used."""
    if config.writer.kind == "template":
        return TemplateWriter(templates, config.seed)
    if config.writer.kind == "endpoint":
        from .endpoint import endpoint

        return CheckedWriter(endpoint(config.writer), config.writer, cache)
    from .local import local_model

    return CheckedWriter(local_model(config.writer), config.writer, cache)
