"""Conventional methods: a net trained as a classifier of all training classes, and what is made of its features."""
