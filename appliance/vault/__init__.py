"""The Object Security Server: credentials of devices, who may do what, the own certificate authority."""
