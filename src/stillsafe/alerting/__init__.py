"""Alerts: what the outbox has becomes messages, which are sent after the commit, at least once."""
