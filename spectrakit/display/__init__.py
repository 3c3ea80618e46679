"""What charts and terminal views are made of: style, axes, numbers in words."""
