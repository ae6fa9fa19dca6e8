"""The audit log and everything else that is remembered: the only part that speaks SQL."""
