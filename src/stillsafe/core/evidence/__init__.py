"""Separates harmless changes from harmful ones. Skip it on first reading."""
