"""The rules played over a history: what they would have done, and what that would have been worth."""
