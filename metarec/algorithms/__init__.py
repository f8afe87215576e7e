"""Meta-learning algorithms, one file each; they know no model."""
