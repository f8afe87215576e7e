"""What `python -m jobs.benchmark` measures, a file a subject."""
