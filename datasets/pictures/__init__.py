"""Images with their labels drawn over them."""
