"""The fitted model computed without data frames. It is only served if an equivalence check passes."""
