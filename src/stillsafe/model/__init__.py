"""The served estimator: load it, score rows, and measure its confidence. It imports scikit-learn."""
