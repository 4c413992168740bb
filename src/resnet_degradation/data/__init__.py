"""Images: where they are read from, their order, augmentation and batches.

May import console and the rooms below it."""
