"""`stillsafe init`: from a fitted model and a sample of healthy data to a service folder."""
