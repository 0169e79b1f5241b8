"""Training: epochs over images in memory or streamed, of one model or of many."""
