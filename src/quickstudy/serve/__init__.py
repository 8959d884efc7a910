"""Learners for many users over HTTP: `quickstudy serve`."""
