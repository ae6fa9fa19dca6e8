"""Gradient boosting of LightGBM, XGBoost and CatBoost: one module per library, each imported only for its models."""
