"""Text to image (Reed et al. 2016): the experiment, the encoding of captions, and the reading of images."""
