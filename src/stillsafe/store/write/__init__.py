"""Writing the store: every INSERT, UPDATE and DELETE, each table written by one module."""
