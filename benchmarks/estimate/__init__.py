"""The estimated loss beside NannyML's estimators on real data, against the loss that labels show."""
