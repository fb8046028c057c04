"""Segmenters: prompts to masks."""
