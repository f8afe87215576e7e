"""What a model is worth: protocol runs, intervals, tables and plots."""
