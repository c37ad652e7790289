"""Measures Worchflow on a store: workloads W1 to W7, beside the store's own limits."""
