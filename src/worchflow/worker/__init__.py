"""The worker: claims executions, runs them, keeps its lease, stops in order."""
