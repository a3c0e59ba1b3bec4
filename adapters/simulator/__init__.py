"""A stand-in for TikTok's Content Posting API and its website: loopback only, every answer marked as simulated."""
