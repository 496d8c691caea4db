"""Orders: takes an order from a customer and sees it through."""
