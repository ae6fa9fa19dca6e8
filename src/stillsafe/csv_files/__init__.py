"""CSV files as people have them: their encoding, separator, decimal mark and words for missing values."""
