"""The HTTP API: validates a request, answers it as the state requires, records the answer, and then sends it."""
