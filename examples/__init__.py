"""Programs that show Queuey at work; README.md in this folder lists them."""
