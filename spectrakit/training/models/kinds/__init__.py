"""What a recipe may ask of each mixer, and the mixer that it makes: without torch."""
