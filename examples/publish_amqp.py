"""Publish a slide or a text to the radios directly through RabbitMQ, with pika.

    python publish_amqp.py /topic/fm/4e1/4000/09580/image "SHOW http://rock.example/1.png" --link http://rock.example/

A message needs only the header ``topic``; the nodes add the other headers. A user with the right to publish to the
exchange can publish to every topic.
"""

from __future__ import annotations

import argparse
import sys

import pika
from pika.exceptions import AMQPError

SECONDS = 10  # to wait for the broker


def publish(parameters: pika.ConnectionParameters, exchange: str, headers: dict[str, str], body: bytes) -> None:
    """Publish a message, and return when the broker has confirmed it."""
    connection = pika.BlockingConnection(parameters)
    channel = connection.channel()
    channel.confirm_delivery()
    channel.basic_publish(exchange, "", body, pika.BasicProperties(headers=headers))
    connection.close()


def why(error: Exception) -> str:
    """Return the reason of an error as text. Many of pika's exceptions have no text."""
    return getattr(error, "reply_text", "") or str(error) or "no broker answers there"


def main() -> None:
    parser = argparse.ArgumentParser(description="Publish a slide or a text through RabbitMQ.")
    parser.add_argument("topic", help="such as /topic/fm/4e1/4000/09580/image")
    parser.add_argument("body", help='"SHOW <URL>" or "TEXT <text>"')
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=5672)
    parser.add_argument("--user", default="guest")
    parser.add_argument("--password", default="guest")
    parser.add_argument("--vhost", default="/")
    parser.add_argument("--exchange", default="amq.fanout", help="the nodes' RABBITMQ_EXCHANGE")
    parser.add_argument("--link", help="the page that a click on the slide opens")
    given = parser.parse_args()
    credentials = pika.PlainCredentials(given.user, given.password)
    broker = pika.ConnectionParameters(
        given.host, given.port, given.vhost, credentials, socket_timeout=SECONDS, blocked_connection_timeout=SECONDS
    )
    headers = {"topic": given.topic, "link": given.link, "trigger-time": "NOW"}
    try:
        publish(broker, given.exchange, {name: text for name, text in headers.items() if text}, given.body.encode())
    except (AMQPError, OSError) as error:
        sys.exit(f"not published by {given.host}:{given.port}: {why(error)}")


if __name__ == "__main__":
    main()
