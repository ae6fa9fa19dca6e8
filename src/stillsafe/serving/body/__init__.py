"""From the bytes of a request to clean rows, or to what is wrong with them."""
