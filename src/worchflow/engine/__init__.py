"""Runs one execution to a settlement; knows the storage contract and no store."""
