"""The page of a report, and the comparison of pictures that it has."""
