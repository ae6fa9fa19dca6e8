"""The fitted model computed without data frames, served only where it is proven to give the same answers."""
