"""The search for better settings: a space of them, trials that are runs like any other, and the best of these."""
