"""Payments: charges customers."""
