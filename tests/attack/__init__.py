"""Hostile clients, web pages, operators and days against a service as users run it: `make attack`."""
