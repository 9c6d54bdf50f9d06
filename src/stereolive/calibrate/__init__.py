"""From views of a board, or from nothing but faces, to a rig."""
