"""Explains incidents to people. It is told aggregates, returns text, and can change nothing."""
