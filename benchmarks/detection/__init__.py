"""How accurately failures of a model are distinguished from mere change, on real data with known labels."""
