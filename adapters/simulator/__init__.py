"""A stand-in for TikTok's Content Posting API: loopback only, every answer marked as simulated."""
