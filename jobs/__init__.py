"""The commands, one file a verb: `python -m jobs.VERB`."""
