"""Train the model, and write it beside a sample that it was not trained on."""

import pandas as pd
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skops import io
from tumour_features import LogAreas

tumours = load_breast_cancer(as_frame=True)
features = tumours.data[["mean radius", "mean texture", "worst area"]]
model = make_pipeline(LogAreas(), StandardScaler(), LogisticRegression())
model.fit(features[::2], tumours.target[::2])
io.dump(model, "model.skops")
pd.DataFrame(features[1::2]).assign(benign=tumours.target[1::2]).to_csv("sample.csv", index=False)
