"""Commands of our own, beside the Trainer's."""
