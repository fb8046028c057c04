"""Reasoners: plane and question to words, box and points."""
