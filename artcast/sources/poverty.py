"""``poverty/death/UTC-0700``: how many people have died of poverty since midnight, by the rate of a year.

About 18 million people die of poverty-related causes in a year, a third of all deaths (Thomas Pogge, "World Poverty and
Human Rights", 2002): one every 1.75 seconds. The value is computed from this rate alone.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

from artcast import source

KEY = "poverty/death/UTC-0700"
IN_A_YEAR = 18_000_000
_YEAR = timedelta(days=365)
_HERE = timezone(timedelta(hours=-7))


def deaths(when: datetime) -> int:
    """The number of deaths since the last midnight at UTC-07:00.

    :param when: a time with its time zone.
    """
    here = when.astimezone(_HERE)
    midnight = here.replace(hour=0, minute=0, second=0, microsecond=0)
    return int((here - midnight) / _YEAR * IN_A_YEAR)


def poverty(context: source.Context) -> None:
    """Send the count each second. It rises by one every 1.75 seconds."""
    while True:
        context.send(deaths(datetime.now(UTC)))
        if not context.wait(1):
            return


if __name__ == "__main__":
    source.add(
        poverty,
        KEY,
        "How many people have died of poverty since midnight, UTC-07:00",
        "computed from 18 million a year (Thomas Pogge: World Poverty and Human Rights)",
    )
    source.run()
