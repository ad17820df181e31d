"""The history of `tinyldm.history`, compared and drawn: measurements, figures, the report."""
