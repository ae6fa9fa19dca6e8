"""Serve a scikit-learn model, notice when it can no longer be trusted, and fall back until it can."""
