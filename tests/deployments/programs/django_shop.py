"""A Django project in one file, with a plain view and an async one."""

from __future__ import annotations

import os

from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, JsonResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from worchflow import Worchflow

shop = Worchflow("shop")
client = shop.client().sync
client.send({"name": "opened", "data": os.getpid()})


@csrf_exempt
def order(request: HttpRequest, number: int) -> JsonResponse:
    handle = client.send({"name": "order", "data": number})
    answer = {"id": handle.id, "status": handle.status(), "process": str(os.getpid())}
    return JsonResponse(answer)


settings.configure(
    ALLOWED_HOSTS=["127.0.0.1"],
    ROOT_URLCONF=__name__,
    SECRET_KEY="for tests",
)
urlpatterns = [path("orders/<int:number>", order)]
app = get_wsgi_application()
asgi = get_asgi_application()
