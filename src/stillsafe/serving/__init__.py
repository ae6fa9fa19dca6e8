"""The HTTP side: a request is validated, answered by what the state says, written down, and only then returned."""
