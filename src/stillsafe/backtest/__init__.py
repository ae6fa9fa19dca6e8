"""Backtest: apply the monitoring rules to a table of past requests, and compare fallback and model on its labels."""
