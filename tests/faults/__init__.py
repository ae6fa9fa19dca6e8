"""Faults on purpose: real processes, real signals, and every acknowledged answer looked for in the log."""
