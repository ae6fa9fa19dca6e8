"""What can be served: real estimators in their file formats, each through a whole life."""
