"""Explains incidents to people. It gets aggregates, returns text, and sees neither the store nor the state."""
