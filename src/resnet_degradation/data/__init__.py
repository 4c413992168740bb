"""Images: their sources, order, augmentation and batches.

May import console and the rooms below it."""
