"""Recommenders, one file each; they know no dataset."""
