"""Pure functions and frozen dataclasses: numpy, scipy, scikit-image and the standard library only."""
