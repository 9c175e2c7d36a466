"""Ladders of recipes: run on the same pictures, into one table and picture beside the documents' figures."""
