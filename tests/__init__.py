"""All tests; the tree is that of the code."""

import logging

import structlog

from tests.class_cleanups import teach_nose

# What the code logs goes to stdlib's logging, where nosetests keeps it for tests that fail.
structlog.configure(
    processors=[structlog.stdlib.add_log_level, structlog.stdlib.render_to_log_kwargs],
    wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
    logger_factory=structlog.stdlib.LoggerFactory(),
)

teach_nose()
