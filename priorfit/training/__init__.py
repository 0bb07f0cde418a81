"""The one training loop: task stream, LightningModule, entry point."""
