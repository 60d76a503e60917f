"""Methods that learn from pictures alone: their views are each other's targets."""
