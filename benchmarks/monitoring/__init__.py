"""What one run over a large window costs, beside monitors whose rows are in memory already."""
