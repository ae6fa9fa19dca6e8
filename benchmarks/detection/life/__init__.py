"""The bench like life: time, thin traffic, rare classes, many features, small baselines, slow damage."""
