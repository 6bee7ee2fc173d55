"""Few labels and many images: the experiment, what it is compared with, and the errors that are counted."""
