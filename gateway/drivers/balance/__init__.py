"""Balances in their dialects: MT-SICS, SBI, A&D, Ohaus."""
