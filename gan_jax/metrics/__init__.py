"""Scores of generated samples. Each module stands alone; none needs a game or a train step."""
