"""The embedded model: one joint grounding network per body region, trained by this project."""
