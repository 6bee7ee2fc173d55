"""Images of captions: the experiment, how captions become vectors, and what is read in the images."""
