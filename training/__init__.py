"""Training of the embedded model: images from label maps, losses, loop and evaluation."""
