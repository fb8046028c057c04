"""Ask questions about CT and MRI in napari and get masks, boxes, key points and words."""

__version__ = "0.1.0"
