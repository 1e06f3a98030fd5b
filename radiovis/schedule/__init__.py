"""Messages with a ``trigger-time`` in the future: they are held until that time, and then sent.

:mod:`~radiovis.schedule.trigger_time` takes them out of a publish and puts them into a store, on disk or in the broker.
The watchdog reads the store and sends each message when it is due (:mod:`~radiovis.schedule.held_slides`).
"""
