"""Honest results: frozen protocols, intervals, floors, calibration, curves and the records they leave."""
