"""Submissions: the checked CSV and the manifest that says where it came from."""
