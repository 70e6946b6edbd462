"""Where an image lies in the network's input, and its symmetries; each with its inverse."""
