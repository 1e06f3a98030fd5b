"""Prints docs/log-events.md: every event of the log, with its meaning and what an operator does about it.

A developer who adds an event adds it here; tests/test_log_events.py compares this table with the calls of the log.
"""

from __future__ import annotations

NOTHING = "nothing"
"""The event needs no action."""

SECTIONS: dict[str, dict[str, tuple[str, str]]] = {
    "Start, stop and settings": {
        "server.ready": ("The node accepts clients; its fields are the addresses.", NOTHING),
        "server.draining": ("The node stops, and closes connections within `DRAIN_SECONDS`.", NOTHING),
        "server.stopped": ("The node has stopped.", NOTHING),
        "fallback.ready": ("The watchdog runs; it leads only after `leader.leading`.", NOTHING),
        "fallback.stopping": ("The watchdog stops.", NOTHING),
        "fallback.stopped": ("The watchdog has stopped.", NOTHING),
        "web.ready": ("The web server accepts clients.", NOTHING),
        "workers.starting": ("A supervisor starts its workers (`WORKERS`).", NOTHING),
        "worker.started": ("A worker was started.", NOTHING),
        "worker.ended": ("A worker has stopped in order.", NOTHING),
        "worker.died": ("A worker died; it is started again after a backoff.", "look for its last lines (`worker=…`)"),
        "settings.warning": (
            "A setting has no effect, or a doubtful value.",
            "correct it; `check-config` says the same",
        ),
        "settings.reloaded": ("Changed settings are in use.", NOTHING),
        "settings.need_restart": ("These changed settings need a restart.", "restart when it suits"),
        "settings.refused": ("A reloaded setting is wrong.", "correct it, and reload"),
        "settings.kept": ("The settings from before stay in use.", "see `settings.refused`"),
        "reload.failed": ("A reload failed by a fault of ours; the old settings stay in use.", "report the traceback"),
        "reload.ignored": ("This program does not reload its settings.", "restart it"),
        "files.few": (
            "The process may open fewer files than `MAX_CONNECTIONS` needs.",
            "raise `LimitNOFILE`, or lower it",
        ),
        "notify.failed": ("The state of the process cannot be sent to systemd.", "use the unit in `deploy/systemd`"),
        "status.unavailable": ("`fallback.py status` will not work.", "set `FB_STATUS_SOCKET`"),
        "admin.unavailable": (
            "The operators' listener could not be opened; the program runs without it.",
            "free the port, or change it",
        ),
    },
    "Connection to the broker": {
        "broker.host": ("A process has connected to this broker host.", NOTHING),
        "bus.connected": ("The node is connected; `waiting` publishes are sent again.", NOTHING),
        "bus.caught_up": ("The node has sent its clients what they missed, and is ready.", NOTHING),
        "bus.lost": (
            "The connection ended, or could not be made; it is tried again.",
            "check the broker and its password",
        ),
        "bus.blocked": ("The broker accepts no messages: it lacks memory or disk space.", "free some at the broker"),
        "bus.unblocked": ("The broker accepts messages again.", NOTHING),
        "bus.gap": ("Messages of other nodes are missing; the node reads them again.", "add nodes if it happens often"),
        "bus.overflowing": ("This node is too slow for what is published.", "add nodes, or set `WORKERS`"),
        "bus.malformed": (
            "A message on the exchange was dropped; the reason is in the event.",
            "repair its publisher: [amqp.md](amqp.md)",
        ),
        "bus.long_text": (
            "A text from RabbitMQ or PlugIt has more than 128 octets.",
            "tell the publisher: [slides.md](slides.md)",
        ),
        "bus.unreadable": (
            "Headers of a message are invalid AMQP; the message was dropped.",
            "repair its publisher: [amqp.md](amqp.md)",
        ),
        "bus.returned": (
            "A publish reached no queue, not even that of this node.",
            "check the permissions, and the bindings of the exchange",
        ),
        "bus.unconfirmed_at_stop": (
            "The node stopped before the broker confirmed these publishes.",
            "check the broker; publishers got no receipt",
        ),
        "bus.receive_failed": (
            "A fault of ours with one message; the others are not affected.",
            "report the traceback",
        ),
        "catch_up.failed": ("A fault of ours while the node read memcached after a reconnect.", "report the traceback"),
        "stream.unavailable": ("The broker refuses the stream.", "[ready](production.md#ready)"),
        "stream.not_read": (
            "The stream could not be read in time; the node asks memcached.",
            "[ready](production.md#ready)",
        ),
        "stream.silent": ("The stream did not answer in time; the node asks memcached.", "check that most brokers run"),
        "stream.failed": ("A fault of ours while the stream was read; the node reconnects.", "report the traceback"),
        "stream.not_marked": ("The end of the stream could not be marked, since a connection was lost.", NOTHING),
        "stream.unbound": ("`RABBITMQ_STREAM` is off: the stream gets no messages any more.", "delete the queue"),
        "stream.not_unbound": ("The stream could not be unbound.", "check the permissions of `RABBITMQ_USER`"),
    },
    "Watchdog": {
        "leader.leading": ("This watchdog leads.", NOTHING),
        "leader.standing_by": ("Another watchdog leads.", NOTHING),
        "leader.disconnects": (
            "The watchdog gave up its connection, since the broker did not confirm its lead.",
            "check that most brokers run",
        ),
        "topics.listed": ("The number of topics in the directory has changed.", NOTHING),
        "topics.listed_twice": ("Two channels have the same topic; the first counts.", "correct the directory"),
        "topics.no_trailing_slash": (
            "A topic in the directory has no `/` at its end; it is used as if it had.",
            "correct the directory",
        ),
        "defaults.sent": ("Default slides and texts were sent to silent topics (`topics`).", NOTHING),
        "memory.unavailable": (
            "The watchdog does not know when topics were last alive, and waits before it sends defaults.",
            NOTHING,
        ),
        "country.unknown": ("The directory does not know the code of this country.", "add it to the directory"),
        "liveness.failed": (
            "A fault of ours with one message; its topic may get a default too early.",
            "report the reason",
        ),
        "task.failed": (
            "A task of the watchdog failed; it is tried again with a backoff.",
            "the reason names the service",
        ),
        "task.recovered": ("The task works again.", NOTHING),
        "task.cancelled": ("A task did not end in time when the process stopped.", NOTHING),
    },
    "Log of messages and journal": {
        "log.failing": ("Log entries cannot be written; they wait.", "the reason names PlugIt, or the disk"),
        "log.well": ("Log entries are written again.", NOTHING),
        "log.lost": ("Log entries were lost: too many waited.", "repair PlugIt or the disk sooner"),
        "log.entry_refused": (
            "PlugIt refused this entry repeatedly, and accepted the next one; the entry is dropped.",
            "report it to PlugIt's maintainers",
        ),
        "log.cleaned": ("Entries older than `FB_LOGS_MAX_AGE` were deleted.", NOTHING),
        "log.not_sent": ("With `--test`, a log entry could not be sent by UDP.", NOTHING),
        "log.sender_failed": ("A fault of ours with one log entry; it is tried again.", "report the traceback"),
        "log.unfinished_at_stop": (
            "The process stopped before these entries were written; the broker has them.",
            NOTHING,
        ),
        "queue.consuming": ("The watchdog reads `FB_QUEUE`; `messages` entries wait there.", NOTHING),
        "queue.replaced": ("The queue of the original server was replaced by a durable one.", NOTHING),
        "queue.lost_at_stop": ("The connection was lost while the watchdog stopped.", NOTHING),
        "queue.unacknowledged_at_stop": (
            "The watchdog stopped before these entries were written; they come again.",
            NOTHING,
        ),
        "handover.refused": ("The log does not accept entries; they are offered again.", "see `log.failing`"),
        "handover.resumed": ("The log accepts entries again.", NOTHING),
        "handover.failed": ("A fault of ours while an entry was handed to the log.", "report the traceback"),
        "journal.restored": ("A stand-alone node has read the last messages of its topics (`topics`).", NOTHING),
        "journal.not_restored": (
            "A stand-alone node could not read its journal; topics are empty.",
            "[damage](production.md#damage)",
        ),
        "journal.migrated": ("The journal has the version of this program now.", NOTHING),
        "journal.damaged": ("The journal was damaged, and was replaced.", "[damage](production.md#damage)"),
        "journal.check_unfinished": ("The journal was too large to check every record within 30 s.", NOTHING),
        "journal.made_private": ("The file could be read by others; now only its user can.", NOTHING),
        "export.failed": ("An export of the journal was cut off.", "the reason is in the event; repeat it"),
    },
    "Held messages (SCHEDULE = server)": {
        "schedule.held": ("A message waits for its trigger-time.", NOTHING),
        "schedule.sent": ("A held message was published, `late` seconds after its time.", NOTHING),
        "schedule.cancelled": ("A held message was cancelled by its publisher.", NOTHING),
        "schedule.no_time": (
            "A held message without a trigger-time was dropped.",
            "find the program that writes to the queue of held messages",
        ),
        "schedule.not_held": (
            "A message could not be held; its publisher got an error.",
            "see the reason: broker, or too many held",
        ),
        "schedule.not_dropped": ("A message that was sent could not be deleted from the file.", "check the disk"),
        "schedule.migrated": ("`SCHEDULE_FILE` has the version of this program now.", NOTHING),
        "schedule.damaged": ("`SCHEDULE_FILE` was damaged, and was replaced.", "[damage](production.md#damage)"),
        "schedule.check_unfinished": ("`SCHEDULE_FILE` was too large to check every record within 30 s.", NOTHING),
        "kept_queue.open": ("The queue of held messages accepts messages again.", NOTHING),
        "kept_queue.full": (
            "The queue of held messages is full; publishers get an error.",
            "wait, or hold fewer messages",
        ),
        "kept_queue.reading": ("The leader reads the queue of held messages.", NOTHING),
    },
    "Stations and directory": {
        "stations.loaded": ("The stations file was read.", NOTHING),
        "stations.refused": (
            "The changed stations file has an error; the old stations stay in use.",
            "correct the line that is named",
        ),
        "stations.on_change": ("A fault of ours after the stations changed.", "report the traceback"),
        "directory.down": ("PlugIt does not answer; known answers stay valid for a day.", "check PlugIt"),
        "directory.up": ("PlugIt answers again.", NOTHING),
        "directory.bad_rows": ("PlugIt listed rows that are invalid; they are ignored.", "correct PlugIt's data"),
        "directory.partial": ("One of PlugIt's two lists failed; the other one is used.", "check PlugIt"),
        "directory.listed_twice": ("PlugIt listed a topic twice; the first one counts.", "correct PlugIt's data"),
        "directory.no_trailing_slash": (
            "PlugIt listed a topic without `/` at its end; it is used as if it had.",
            "correct PlugIt's data",
        ),
        "directory.garbage_in_memcached": (
            "An entry in memcached is not ours; it is ignored.",
            "use a memcached of its own",
        ),
        "directory.bug": ("A fault of ours in a call of the directory.", "report the error"),
        "tuning.failed": ("A fault of ours while the topics were read again.", "report the traceback"),
        "subscription.moved": (
            "The directory has changed: subscribers of this destination get another channel.",
            NOTHING,
        ),
        "country.failed": ("A fault of ours in the look-up of a country.", "report the reason"),
        "country.dropped": (
            "Messages of a country were dropped, as too many waited for its code.",
            "check the directory's speed",
        ),
        "memcached.down": ("memcached does not answer.", "check memcached; everything works, more slowly"),
        "memcached.up": ("memcached answers again.", NOTHING),
    },
    "Clients": {
        "client.connected": ("A client has sent CONNECT (level DEBUG).", NOTHING),
        "client.gone": ("A client has left (level DEBUG).", NOTHING),
        "client.fault": ("A client sent something invalid; `fault` names it.", "repair the client if it is yours"),
        "client.slow": ("A client did not read for `WRITE_TIMEOUT`, or held too much memory, and was closed.", NOTHING),
        "client.overdue": ("A client was silent for longer than its heart-beat allows, and was closed.", NOTHING),
        "client.turned_away": (
            "A connection was refused by a limit.",
            "[production.md](production.md#when-something-is-wrong)",
        ),
        "client.failed": ("A fault of ours with one client; the others are not affected.", "report the traceback"),
        "clients.vanished": ("Many clients left within a second.", "check NAT, load balancer, network"),
        "login.accepted": ("A station has logged in.", NOTHING),
        "login.refused": (
            "Login or password is wrong, or the address is not allowed.",
            "`station list`, `station passwd`",
        ),
        "login.put_off": (
            "Too many failed logins: the login was refused without a check.",
            "wait, or correct the program that guesses",
        ),
        "login.withdrawn": (
            "A password, certificate or network of the login left the stations file; a connection was closed.",
            NOTHING,
        ),
        "login.unanswered": ("A login could not be checked: the directory is away.", "check the directory"),
        "publish.refused": (
            "A station published to a topic that it may not use, or too much.",
            "correct the topic, or the stations",
        ),
        "publish.long_text": (
            "A station published a text of more than 128 octets; it was passed on.",
            "tell the station: [slides.md](slides.md)",
        ),
        "preflight.unfit": (
            "A published slide or text is one that receivers cannot show.",
            "tell the station: [slides.md](slides.md)",
        ),
        "slide.not_public": ("A published slide is on a host with a private address; it was not fetched.", NOTHING),
        "recall.failed": ("A fault of ours while a retained message was looked up.", "report the reason"),
        "proxy.refused": (
            "A host in `PROXY_FROM` sent no valid PROXY header.",
            "correct the load balancer, or `PROXY_FROM`",
        ),
        "certificate.loaded": ("The TLS certificate was read.", NOTHING),
        "certificate.refused": ("The new certificate cannot be used; the old one stays in use.", "correct the file"),
        "tls.refused": ("A TLS handshake failed.", NOTHING),
        "websocket.fault": ("A WebSocket client violated the protocol.", NOTHING),
        "websocket.silent": ("A WebSocket client did not answer Pings, and was closed.", NOTHING),
        "player.failed": ("A fault of ours with one web player.", "report the traceback"),
        "http.body_lost": (
            "The body of a request does not fit on the disk; it was refused with 507.",
            "make room for temporary files",
        ),
        "http.ending": ("The web server stops; running answers may end.", NOTHING),
        "http.cut_off": ("Answers did not end in time when the web server stopped.", "raise `grace_seconds`"),
        "http.failed": ("A fault of ours with one HTTP request; it was answered with 500.", "report the traceback"),
    },
    "Monitoring events": {
        "publisher.connected": ("The monitoring broker is connected.", NOTHING),
        "publisher.lost": (
            "The monitoring broker is not connected; events wait.",
            "check `MONITORING_HOST`, user and password",
        ),
        "publisher.dropped": ("Monitoring events were dropped: too many waited.", "repair the monitoring broker"),
        "publisher.returned": (
            "No queue is bound for monitoring events.",
            "bind one, or set `MONITORING_ENABLED=False`",
        ),
        "publisher.unsent_at_stop": ("The process stopped before these events were sent.", NOTHING),
    },
    "Artcast and web server": {
        "datagram.ignored": (
            "A datagram was invalid, or came from an address that is not allowed.",
            "correct its sender",
        ),
        "group.joined": ("The multicast group was joined after an error.", NOTHING),
        "group.not_joined": ("The multicast group cannot be joined; it is tried again.", "check the network interface"),
        "keys.full": (
            "More than `MAX_KEYS` keys: further ones are not listed.",
            "restrict `SOURCES`, or raise `MAX_KEYS`",
        ),
        "message.ignored": ("A message for an Artcast topic is no Artcast message.", "correct its publisher"),
        "bus.not_carried": ("A value could not be published to the other nodes.", "check the broker"),
        "access_log.reopened": ("The access log was opened again after SIGHUP.", NOTHING),
        "site.not_reloaded": ("The web server does not reload its site file.", "restart it"),
        "upload.no_space": (
            "An upload did not fit on the disk; it was refused with 507.",
            "make room in the uploads folder",
        ),
        "wsgi.said": ("A line that a WSGI application wrote to its error stream.", NOTHING),
    },
}
"""Sections of the page; in each, events with their meaning and what to do."""


def page() -> str:
    """The page, in Markdown."""
    lines = [
        "# Log events",
        "",
        "For an operator who has found an event in the log. At the end you know what it means and what to do.",
        "Generated by `make settings`.",
    ]
    for section, events in SECTIONS.items():
        lines += ["", f"## {section}", "", "| event | meaning | do |", "| --- | --- | --- |"]
        lines += [f"| `{event}` | {meaning} | {action} |" for event, (meaning, action) in events.items()]
    return "\n".join(lines)


if __name__ == "__main__":
    print(page())
