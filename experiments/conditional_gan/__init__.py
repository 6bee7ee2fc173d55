"""Class-conditional GANs: the players, and whether samples show the class that they were asked for."""
