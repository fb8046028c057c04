"""The only place for Qt and napari."""
