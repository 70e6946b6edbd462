"""The board: runs, scores and every image, in one page that opens from disk (see ``segfold.board.build``)."""
