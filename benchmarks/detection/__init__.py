"""How rightly failures of a model are told from mere change, on real data with known labels."""
