"""OPC UA: sessions, subscriptions and polls, PackML in both dialects, scales, trust."""
