"""From texts to token shards; nothing here imports torch."""
