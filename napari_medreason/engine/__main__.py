"""`python -m napari_medreason.engine`."""

from napari_medreason.engine.server import main

main()
