"""The probability store: reader, writer, mean."""
