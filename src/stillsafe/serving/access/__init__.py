"""Keys: who may predict, read and operate."""
