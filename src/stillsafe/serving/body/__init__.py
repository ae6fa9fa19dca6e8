"""Request bodies: from bytes to clean rows, or to the violations in them."""
