"""MediSee: candidate tokens, routers, a box head and the SAM decoder behind LLaVA-Med."""

from napari_medreason.models.medisee.model import MediSee, load_medisee

__all__ = ["MediSee", "load_medisee"]
