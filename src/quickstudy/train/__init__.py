"""The outer loop, its state that can be saved, and the folder in which a run lives."""
