"""Pumps that speak ASCII: dose, run, read-back."""
