"""Queries: every SELECT, one module for each thing. Nothing here writes."""
