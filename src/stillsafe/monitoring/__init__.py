"""Processes that start, do one thing and end: the monitoring run, baselines, replay, the schedule."""
