"""Image data sets: readers, sampling order, augmentation and batches.

May import console and the rooms below it."""
