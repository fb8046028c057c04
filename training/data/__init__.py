"""Data sets: importers of the usual folder layouts, builders of the three systems' records, converters."""
