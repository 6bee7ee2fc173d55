"""Class-conditional GANs, and how often samples show the class they are conditioned on."""
