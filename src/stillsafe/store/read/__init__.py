"""Reading the store: every SELECT, a module for each thing that is read. Nothing here writes."""
