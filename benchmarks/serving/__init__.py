"""How fast durable answers are, beside servers that log nothing."""
