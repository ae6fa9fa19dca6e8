"""Each with its peers in the same run."""
