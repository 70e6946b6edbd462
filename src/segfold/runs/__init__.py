"""Run folders: names and files, records, what is in them and whose they are."""
