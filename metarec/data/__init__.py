"""From ratings to streams of user tasks."""
