"""What the paths of the client-server API begin with."""

V1 = "/_matrix/client/v1"
V3 = "/_matrix/client/v3"
MEDIA_V1 = "/_matrix/media/v1"
MEDIA_V3 = "/_matrix/media/v3"
