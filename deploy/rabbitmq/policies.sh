#!/bin/sh
# Bounds the queues of a RadioVIS cluster that grow while nobody reads them:
#
#   deploy/rabbitmq/policies.sh VHOST
#
# Where rabbitmqctl may be used, as root or as rabbitmq. May be called again, also while everything runs: a policy
# changes queues that exist, and no node or watchdog has to be restarted.
#
# watchdog    FB_QUEUE, messages that are not in PlugIt's log yet. 1 GiB is some days of 1,000 stations. Beyond it the
#             oldest are dropped; radiovis_log_dropped_total counts them. Change the pattern with FB_QUEUE.
# monitoring  MONITORING_QUEUE, events that nobody reads unless you see to it. Change the pattern with MONITORING_QUEUE.
set -eu

vhost=${1:?usage: policies.sh VHOST}

policy() {
    rabbitmqctl set_policy -p "$vhost" "$1" "$2" "{\"max-length-bytes\": $3, \"overflow\": \"drop-head\"}" --apply-to queues
}

policy watchdog '^fallbacklogs$' 1073741824
policy monitoring '^radiovis$' 268435456
