"""Evaluation of models on records: published scores, sound ones beside them, intervals and tables."""
