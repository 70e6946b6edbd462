"""The peers, each written as its own documentation shows; nothing here imports segfold."""
