"""Channels outward that cannot be asked what they hold: mail, webhook. At least once, always under one id."""
