"""The page of a run: one HTML file with pictures, curves and settings, that opens from the disk and asks no network."""
