"""Three recipes for the engine's HTTP server (docs/web.md). Run it in the project's folder, and send requests:

python -m examples.web_cookbook 8000

curl http://127.0.0.1:8000/hello/world
curl --data-binary @README.md 'http://127.0.0.1:8000/echo?a=1'
curl http://127.0.0.1:8000/counter/front-door
curl -H 'Accept: text/event-stream' http://127.0.0.1:8000/channels/counter/front-door
"""

import sys

from twisted.internet import reactor

from fanout.http.response import Response
from fanout.http.routing import Request, Route
from fanout.http.topic_resources import Topics
from webserver.serving import LocalTopics, serve

topics = LocalTopics(reactor)


# Hello: a named part of the path is a parameter.
def hello(request: Request) -> Response:
    return Response.text(f"Hello {request.parameters['name']}!\n")


# Echo: return the request. The body is read piece by piece, so it may have any size.
async def echo(request: Request) -> Response:
    octets = 0
    async for chunk in request.chunks():
        octets += len(chunk)
    asked = {"method": request.method, "path": request.path, "version": request.version, "address": request.address}
    return Response.json(asked | {"headers": request.headers, "octets": octets})


# A counter: a number for each name. It is the value of a topic, so clients can watch it, and a PUT sets it.
async def count(request: Request) -> Response:
    topic = f"counter/{request.parameters['name']}"
    number = int(topics.last(topic) or 0) + 1
    await topics.say(topic, str(number).encode())
    return Response.text(f"{number}\n")


ROUTES = [
    Route("/hello/{name}", GET=hello),
    Route("/echo", GET=echo, POST=echo, PUT=echo),
    Route("/counter/{name}", GET=count),
    *Topics(topics.pending).routes(),
]

if __name__ == "__main__":
    serve(reactor, ROUTES, topics, port=int(sys.argv[1]) if sys.argv[1:] else 8000)
