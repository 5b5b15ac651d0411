"""The network and how it learns: model, BatchNorm statistics, augmentation, cached activations, fine-tuning."""
