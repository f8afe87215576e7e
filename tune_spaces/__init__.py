"""Search spaces, data only: `python -m jobs.tune --space NAME` takes the module of that name.

`SPACE` maps a setting to the domain that it is drawn from, or to the value that it has in all trials; `METRIC` is what
decides, on validation users, `MODE` whether `min` or `max` of it is better, and `NUM_TRIALS` how many to run.
"""
