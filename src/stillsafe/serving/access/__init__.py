"""Keys: who may predict, label, read and operate."""
