"""The start of a worker: queuey dev --app examples.with_django.worker:app"""

from __future__ import annotations

import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "examples.with_django.settings")
django.setup()

from examples.with_django.handlers import app  # noqa: E402  the models can be imported from here on

__all__ = ["app"]
