"""The database: the audit log, runs, state, incidents, baselines. The only package with SQL."""
