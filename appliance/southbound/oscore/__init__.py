"""Object security: messages protected end to end, whatever carries them (RFC 8613, OMA Transport §5.5)."""
