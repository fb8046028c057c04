"""PRS-Med: LLaVA-Med with an adapter, TinySAM features and a prompt-mask decoder."""
