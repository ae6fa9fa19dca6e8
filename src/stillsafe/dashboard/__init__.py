"""The page for an engineer woken at night: read-only, server-rendered, complete without JavaScript."""
