"""Apache ActiveMQ, the fastest STOMP server in Debian's packages. It is measured if it is installed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench import programs
from bench.servers import Target
from tests.services import HOST, free_port

JAR = Path("/usr/share/activemq/bin/activemq.jar")
_CONFIGURATION = """
<beans xmlns="http://www.springframework.org/schema/beans"
    xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"
    xsi:schemaLocation="http://www.springframework.org/schema/beans
        http://www.springframework.org/schema/beans/spring-beans.xsd
        http://activemq.apache.org/schema/core http://activemq.apache.org/schema/core/activemq-core.xsd">
  <broker xmlns="http://activemq.apache.org/schema/core" brokerName="bench" persistent="false" useJmx="false"
      advisorySupport="false" dataDirectory="{folder}/data">
    <transportConnectors>
      <transportConnector name="stomp" uri="stomp+nio://{host}:{port}?maximumConnections=20000"/>
    </transportConnectors>
  </broker>
</beans>
"""


@contextmanager
def activemq() -> Iterator[Target]:
    """ActiveMQ without persistence, with its connector for many clients. Anonymous clients may publish."""
    port, folder = free_port(), Path(tempfile.mkdtemp(prefix="radiovis-activemq-"))
    (folder / "activemq.xml").write_text(_CONFIGURATION.format(folder=folder, host=HOST, port=port))
    places = [f"-Dactivemq.home={JAR.parents[1]}", f"-Dactivemq.base={folder}", f"-Dactivemq.conf={folder}"]
    command = ["java", "-Xmx2g", *places, "-jar", str(JAR), "start", f"xbean:file:{folder}/activemq.xml"]
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(command, stdout=quiet, stderr=quiet, start_new_session=True)
    try:
        programs.wait_for(port)
        yield Target("ActiveMQ STOMP", port, (process.pid,), ("-d", "/topic/bench"))
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        shutil.rmtree(folder)
