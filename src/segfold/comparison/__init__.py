"""Two runs or ensembles on the same images, and what is to be expected of a submission."""
