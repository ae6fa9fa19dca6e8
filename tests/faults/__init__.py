"""Fault injection: real processes, real signals; every acknowledged answer has to be in the log."""
