"""PRS-Med: LLaVA-Med with an adapter, TinySAM features and a prompt-mask decoder."""

from napari_medreason.models.prs_med.model import PrsMed, load_prs_med

__all__ = ["PrsMed", "load_prs_med"]
