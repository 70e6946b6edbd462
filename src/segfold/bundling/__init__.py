"""Runs that go to a host without internet, to predict or to train there, and that come home."""
