"""The served estimator: loading it, asking it, its confidence. The only home of scikit-learn."""
