"""What `jobs.benchmark` can measure, one module a benchmark, and what they share."""
