"""The example shop: four services, and a demo that breaks them."""
