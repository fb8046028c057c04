"""Training of reasoners: examples first (SFT), then rewards (GRPO)."""
