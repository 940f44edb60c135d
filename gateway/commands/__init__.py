"""Everything a person or the MES may ask."""
