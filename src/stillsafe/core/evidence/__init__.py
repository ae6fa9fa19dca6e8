"""How change is told from harm. Skip it on first reading."""
