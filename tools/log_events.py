"""Prints docs/log-events.md: every event of the log, with its meaning and what an operator must do.

Add each new event here. tests/test_log_events.py compares this table with the log calls in the code.
"""

from __future__ import annotations

NOTHING = "nothing"
"""The event needs no action."""

SECTIONS: dict[str, dict[str, tuple[str, str]]] = {
    "Start, stop and settings": {
        "server.ready": ("The node accepts clients; its fields are the addresses.", NOTHING),
        "server.draining": ("The node stops, and closes connections within `DRAIN_SECONDS`.", NOTHING),
        "server.stopped": ("The node has stopped.", NOTHING),
        "fallback.ready": ("The watchdog runs; it is the leader only after `leader.leading`.", NOTHING),
        "fallback.stopping": ("The watchdog stops.", NOTHING),
        "fallback.stopped": ("The watchdog has stopped.", NOTHING),
        "web.ready": ("The web server accepts clients.", NOTHING),
        "workers.starting": ("A supervisor starts its workers (`WORKERS`).", NOTHING),
        "worker.started": ("A worker was started.", NOTHING),
        "worker.ended": ("A worker has stopped cleanly.", NOTHING),
        "worker.died": ("A worker died; it is started again after a backoff.", "look for its last lines (`worker=…`)"),
        "settings.warning": (
            "A setting has no effect, or a doubtful value.",
            "correct it; `check-config` says the same",
        ),
        "settings.reloaded": ("Changed settings are in use.", NOTHING),
        "settings.need_restart": ("These changed settings need a restart.", "restart when it suits"),
        "settings.refused": ("A reloaded setting is wrong.", "correct it, and reload"),
        "settings.kept": ("The old settings stay in use.", "see `settings.refused`"),
        "reload.failed": ("A bug of ours stopped a reload; the old settings stay in use.", "report the traceback"),
        "reload.ignored": ("This program does not reload its settings.", "restart it"),
        "files.few": (
            "The process may open fewer files than `MAX_CONNECTIONS` needs.",
            "raise `LimitNOFILE`, or lower `MAX_CONNECTIONS`",
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
        "bus.connected": ("The node is connected; it sends the `waiting` publishes again.", NOTHING),
        "bus.caught_up": ("The node has sent missed messages to its clients, and is ready.", NOTHING),
        "bus.lost": (
            "The connection ended, or could not be made; the node tries again.",
            "check the broker and its password",
        ),
        "bus.blocked": ("The broker accepts no messages: it lacks memory or disk space.", "free some at the broker"),
        "bus.unblocked": ("The broker accepts messages again.", NOTHING),
        "bus.gap": ("Messages of other nodes are missing; the node reads them again.", "add nodes if it happens often"),
        "bus.overflowing": ("This node is too slow for the rate of messages.", "add nodes, or set `WORKERS`"),
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
            "A bug of ours: one message failed; other messages are not affected.",
            "report the traceback",
        ),
        "catch_up.failed": ("A bug of ours while the node read memcached after a reconnect.", "report the traceback"),
        "stream.unavailable": ("The broker refuses the stream.", "[ready](production.md#ready)"),
        "stream.not_read": (
            "The stream could not be read in time; the node reads memcached instead.",
            "[ready](production.md#ready)",
        ),
        "stream.silent": (
            "The stream did not answer in time; the node reads memcached instead.",
            "check that most brokers run",
        ),
        "stream.failed": ("A bug of ours while the stream was read; the node reconnects.", "report the traceback"),
        "stream.not_marked": ("The end of the stream could not be marked, because a connection was lost.", NOTHING),
        "stream.unbound": ("`RABBITMQ_STREAM` is off: the stream no longer gets messages.", "delete the queue"),
        "stream.not_unbound": ("The stream could not be unbound.", "check the permissions of `RABBITMQ_USER`"),
    },
    "Watchdog": {
        "leader.leading": ("This watchdog is the leader now.", NOTHING),
        "leader.standing_by": ("This watchdog stands by; another one is the leader.", NOTHING),
        "leader.disconnects": (
            "The watchdog closed its connection, because the broker did not confirm that it is the leader.",
            "check that most brokers run",
        ),
        "topics.listed": ("The number of topics in the directory has changed.", NOTHING),
        "topics.listed_twice": ("Two channels have the same topic; the first counts.", "correct the directory"),
        "topics.no_trailing_slash": (
            "A topic in the directory has no `/` at its end; the watchdog adds it.",
            "correct the directory",
        ),
        "defaults.sent": ("Default slides and texts were sent to silent topics (`topics`).", NOTHING),
        "memory.unavailable": (
            "The watchdog does not know the times of the last messages, and waits before it sends defaults.",
            NOTHING,
        ),
        "country.unknown": ("The directory does not know the code of this country.", "add it to the directory"),
        "liveness.failed": (
            "A bug of ours: one message failed; its topic may get a default too early.",
            "report the reason",
        ),
        "task.failed": (
            "A task of the watchdog failed; it is repeated with a backoff.",
            "check the service that the reason names",
        ),
        "task.recovered": ("The task works again.", NOTHING),
        "task.cancelled": ("A task did not end in time when the process stopped.", NOTHING),
    },
    "Log of messages and journal": {
        "log.failing": ("Log entries cannot be written; they wait.", "check PlugIt or the disk, as the reason says"),
        "log.well": ("Log entries are written again.", NOTHING),
        "log.lost": ("Log entries were lost: too many waited.", "repair PlugIt or the disk sooner"),
        "log.entry_refused": (
            "PlugIt refused this entry repeatedly, and accepted the next one; the entry is dropped.",
            "report it to PlugIt's maintainers",
        ),
        "log.cleaned": ("Entries older than `FB_LOGS_MAX_AGE` were deleted.", NOTHING),
        "log.not_sent": ("With `--test`, a log entry could not be sent by UDP.", NOTHING),
        "log.sender_failed": ("A bug of ours: one log entry failed; it is sent again.", "report the traceback"),
        "log.unfinished_at_stop": (
            "The process stopped before these entries were written; the broker keeps them.",
            NOTHING,
        ),
        "queue.consuming": ("The watchdog reads `FB_QUEUE`; `messages` entries wait there.", NOTHING),
        "queue.replaced": ("The queue of the original server was replaced by a durable one.", NOTHING),
        "queue.lost_at_stop": ("The connection was lost while the watchdog stopped.", NOTHING),
        "queue.unacknowledged_at_stop": (
            "The watchdog stopped before these entries were written; the broker delivers them again.",
            NOTHING,
        ),
        "handover.refused": ("The log does not accept entries; they are offered again.", "see `log.failing`"),
        "handover.resumed": ("The log accepts entries again.", NOTHING),
        "handover.failed": ("A bug of ours while an entry was passed to the log.", "report the traceback"),
        "journal.restored": ("A stand-alone node has read the last messages of its topics (`topics`).", NOTHING),
        "journal.not_restored": (
            "A stand-alone node could not read its journal; its topics have no last messages.",
            "[damage](production.md#damage)",
        ),
        "journal.migrated": ("The journal has the version of this program now.", NOTHING),
        "journal.damaged": ("The journal was damaged, and was replaced.", "[damage](production.md#damage)"),
        "journal.check_unfinished": ("The journal was too large to check every record within 30 s.", NOTHING),
        "journal.made_private": ("Other users could read the journal's file; now only its owner can.", NOTHING),
        "export.failed": ("An export of the journal was aborted.", "read the reason in the event, and repeat it"),
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
            "read the reason: the broker, or too many held messages",
        ),
        "schedule.not_dropped": ("A sent message could not be deleted from `SCHEDULE_FILE`.", "check the disk"),
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
        "stations.on_change": ("A bug of ours after a change of the stations.", "report the traceback"),
        "directory.down": ("PlugIt does not answer; known answers stay valid for a day.", "check PlugIt"),
        "directory.up": ("PlugIt answers again.", NOTHING),
        "directory.bad_rows": ("PlugIt listed rows that are invalid; they are ignored.", "correct PlugIt's data"),
        "directory.partial": ("One of PlugIt's two lists failed; the other one is used.", "check PlugIt"),
        "directory.listed_twice": ("PlugIt listed a topic twice; the first one counts.", "correct PlugIt's data"),
        "directory.no_trailing_slash": (
            "PlugIt listed a topic without `/` at its end; the node adds it.",
            "correct PlugIt's data",
        ),
        "directory.garbage_in_memcached": (
            "An entry in memcached has a foreign format; it is ignored.",
            "use memcached only for this cluster",
        ),
        "directory.bug": ("A bug of ours in a call of the directory.", "report the error"),
        "tuning.failed": ("A bug of ours while the topics were read again.", "report the traceback"),
        "subscription.moved": (
            "The directory has changed: subscribers of this destination get another channel.",
            NOTHING,
        ),
        "country.failed": ("A bug of ours in the look-up of a country.", "report the reason"),
        "country.dropped": (
            "Messages of a country were dropped, because too many waited for its code.",
            "check the directory's speed",
        ),
        "memcached.down": ("memcached does not answer; the nodes work, but more slowly.", "check memcached"),
        "memcached.up": ("memcached answers again.", NOTHING),
    },
    "Clients": {
        "client.connected": ("A client has sent CONNECT (level DEBUG).", NOTHING),
        "client.gone": ("A client has disconnected (level DEBUG).", NOTHING),
        "client.fault": ("A client sent something invalid; `fault` names it.", "repair the client if it is yours"),
        "client.slow": ("A client did not read for `WRITE_TIMEOUT`, or held too much memory, and was closed.", NOTHING),
        "client.overdue": ("A client was silent for longer than its heart-beat allows, and was closed.", NOTHING),
        "client.turned_away": (
            "A connection was refused by a limit.",
            "[production.md](production.md#when-something-is-wrong)",
        ),
        "client.failed": ("A bug of ours: one client failed; the others are not affected.", "report the traceback"),
        "clients.vanished": ("Many clients disconnected within a second.", "check NAT, load balancer, network"),
        "login.accepted": ("A station has logged in.", NOTHING),
        "login.refused": (
            "Login or password is wrong, or the address is not allowed.",
            "`station list`, `station passwd`",
        ),
        "login.put_off": (
            "Too many failed logins: the login was refused without a check.",
            "wait, or correct the program with the wrong password",
        ),
        "login.withdrawn": (
            "A password, certificate or network of the login was removed from the file; a connection was closed.",
            NOTHING,
        ),
        "login.unanswered": ("A login could not be checked: the directory does not answer.", "check the directory"),
        "publish.refused": (
            "A station published to a topic that it may not use, or too much.",
            "correct the topic, or the stations",
        ),
        "publish.long_text": (
            "A station published a text of more than 128 octets; it was published.",
            "tell the station: [slides.md](slides.md)",
        ),
        "preflight.unfit": (
            "Receivers cannot show a published slide or text.",
            "tell the station: [slides.md](slides.md)",
        ),
        "slide.not_public": ("A published slide is on a host with a private address; it was not fetched.", NOTHING),
        "recall.failed": ("A bug of ours in the look-up of a retained message.", "report the reason"),
        "proxy.refused": (
            "A host in `PROXY_FROM` sent no valid PROXY header.",
            "correct the load balancer, or `PROXY_FROM`",
        ),
        "certificate.loaded": ("The TLS certificate was read.", NOTHING),
        "certificate.refused": ("The new certificate cannot be used; the old one stays in use.", "correct the file"),
        "tls.refused": ("A TLS handshake failed.", NOTHING),
        "websocket.fault": ("A WebSocket client violated the protocol.", NOTHING),
        "websocket.silent": ("A WebSocket client did not answer Pings, and was closed.", NOTHING),
        "player.failed": ("A bug of ours: one web player failed.", "report the traceback"),
        "http.body_lost": (
            "The body of a request does not fit on the disk; it was refused with 507.",
            "make room for temporary files",
        ),
        "http.ending": ("The web server stops; it waits for running answers.", NOTHING),
        "http.cut_off": ("Answers were aborted because they did not end in time at a stop.", "raise `grace_seconds`"),
        "http.failed": ("A bug of ours: one HTTP request failed with status 500.", "report the traceback"),
    },
    "Monitoring events": {
        "publisher.connected": ("The monitoring broker is connected.", NOTHING),
        "publisher.lost": (
            "The connection to the monitoring broker is lost; events wait.",
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
        "group.not_joined": ("The multicast group cannot be joined; it is retried.", "check the network interface"),
        "keys.full": (
            "There are more than `MAX_KEYS` keys; the others are not listed.",
            "restrict `SOURCES`, or raise `MAX_KEYS`",
        ),
        "message.ignored": ("A message on an Artcast topic has a wrong format.", "correct its publisher"),
        "bus.not_carried": ("A value could not be published to the other nodes.", "check the broker"),
        "access_log.reopened": ("The access log was opened again after SIGHUP.", NOTHING),
        "site.not_reloaded": ("The web server does not reload its site file.", "restart it"),
        "upload.no_space": (
            "An upload did not fit on the disk; it was refused with 507.",
            "make room in the uploads folder",
        ),
        "wsgi.said": ("A WSGI application wrote this line to its error stream.", NOTHING),
    },
}
"""The sections of the page: for each event its meaning, and what an operator must do."""


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
