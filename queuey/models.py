"""The requests and answers of the HTTP API, for programs that use the client: `queuey.models.JobRequest` and others."""

from queuey.protocol.models import *  # noqa: F403
from queuey.protocol.models import __all__  # noqa: F401
