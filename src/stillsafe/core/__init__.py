"""The pure centre: frozen values and functions that decide, and nothing that reads a clock, a file or a database."""
