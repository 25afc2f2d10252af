"""The routes of the example."""

from __future__ import annotations

from django.urls import path

from examples.with_django.views import place_order, show_order

urlpatterns = [path("orders", place_order), path("orders/<int:number>", show_order)]
