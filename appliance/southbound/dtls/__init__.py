"""CoAP's security over UDP: a DTLS 1.2 server without I/O (RFC 6347, RFC 7925, RFC 9146)."""
