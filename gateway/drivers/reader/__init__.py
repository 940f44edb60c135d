"""Barcode and vision readers: lines over serial or TCP."""
