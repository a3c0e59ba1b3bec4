"""TikTok's Content Posting API behind the PlatformUploader port."""
