"""Synthetic sample studies and the script that makes them."""
