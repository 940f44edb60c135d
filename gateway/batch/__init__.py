"""The batch: lifecycle, checks, signatures, reconciliation, completeness, report."""
