"""Real nodes as processes of their own, and an ear on what they say."""
