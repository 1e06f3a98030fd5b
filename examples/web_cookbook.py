"""Three recipes for the engine's HTTP server (docs/web.md). Run it from the project's folder, and ask it:

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


# Hello: a part of the path has a name.
def hello(request: Request) -> Response:
    return Response.text(f"Hello {request.parameters['name']}!\n")


# Echo: what the server was asked, and what came with it, counted piece by piece, however much it is.
async def echo(request: Request) -> Response:
    octets = 0
    async for chunk in request.chunks():
        octets += len(chunk)
    asked = {"method": request.method, "path": request.path, "version": request.version, "address": request.address}
    return Response.json(asked | {"headers": request.headers, "octets": octets})


# A session counter: one number for each name, kept as a topic. So others can watch it, and a PUT there sets it.
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
