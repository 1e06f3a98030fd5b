"""Django, with its admin and static files, and Flask, served from the SITE.toml of the documentation."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from typing import ClassVar
from urllib.parse import urlencode

from tests.browser import DESKTOP, PHONE, Browser, missing
from tests.web import ask
from tests.webserver.test_cli import DOCS, Process

LOGIN, PASSWORD = "anna", "a long password 7"
SHOP = """
import flask

app = flask.Flask(__name__)

@app.get("/")
def basket():
    return f'<!doctype html><title>Shop</title><h1>Shop</h1><a href="{flask.url_for("thing", name="tea")}">Tea</a>'

@app.get("/things/<name>")
def thing(name):
    return f"<!doctype html><title>{name}</title><h1>{name}</h1>"
"""
FORM = "application/x-www-form-urlencoded"
SECONDS = 300.0  # for a command of Django; the longest takes ten on a busy machine


def example(language: str, words: str) -> str:
    """The block of the documentation with these words."""
    blocks = re.findall(rf"```{language}\n(.*?)```", DOCS.read_text(), re.DOTALL)
    return next(block for block in blocks if words in block)


class FrameworksCase(unittest.TestCase):
    """A project as Django makes it, with what the documentation adds."""

    home: ClassVar[Path]

    @classmethod
    def setUpClass(cls) -> None:
        cls.home = Path(tempfile.mkdtemp(prefix="webserver-"))
        cls.addClassCleanup(shutil.rmtree, cls.home)
        cls.run_python("-m", "django", "startproject", "mysite", ".")
        with (cls.home / "mysite" / "settings.py").open("a") as settings:
            settings.write(example("python", "STATIC_ROOT"))
        (cls.home / "shop.py").write_text(SHOP)
        cls.run_python("manage.py", "migrate", "--verbosity", "0")
        user = {"DJANGO_SUPERUSER_PASSWORD": PASSWORD, "DJANGO_SUPERUSER_USERNAME": LOGIN}
        cls.run_python("manage.py", "createsuperuser", "--noinput", "--email", "anna@example.org", **user)
        cls.run_python("manage.py", "collectstatic", "--noinput", "--verbosity", "0")
        (cls.home / "SITE.toml").write_text(example("toml", "mysite"))
        cls.process = Process("webserver", str(cls.home / "SITE.toml"), "--port", "0")
        cls.addClassCleanup(cls.process.kill)
        cls.address = cls.process.address
        cls.url = "http://{}:{}".format(*cls.address)

    @classmethod
    def run_python(cls, *arguments: str, **variables: str) -> None:
        environ = {**os.environ, **variables}
        command = [sys.executable, *arguments]
        done = subprocess.run(
            command, cwd=cls.home, env=environ, capture_output=True, text=True, timeout=SECONDS, check=False
        )
        if done.returncode:
            raise AssertionError(f"{arguments} failed:\n{done.stdout}{done.stderr}")


class Octets(FrameworksCase):
    def test_the_admin_its_style_and_a_login(self) -> None:
        answer = ask(self.address, "/admin/login/?next=/admin/")
        self.assertEqual(answer.status, 200)
        sheets = re.findall(r'<link rel="stylesheet" href="([^"]+)"', answer.body.decode())
        self.assertGreaterEqual(len(sheets), 3)
        for sheet in sheets:
            file = ask(self.address, sheet)
            self.assertEqual((file.status, file.headers["content-type"]), (200, "text/css; charset=utf-8"), sheet)
            self.assertEqual(file.body, (self.home / "collected" / sheet.removeprefix("/static/")).read_bytes())
            self.assertIn("last-modified", file.headers)
        token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', answer.body.decode())
        assert token is not None
        fields = {"username": LOGIN, "password": PASSWORD, "csrfmiddlewaretoken": token.group(1), "next": "/admin/"}
        cookie = answer.headers["set-cookie"].partition(";")[0]
        posted = {"method": "POST", "content_type": FORM, "cookie": cookie, "origin": self.url}
        answer = ask(self.address, "/admin/login/", body=urlencode(fields).encode(), **posted)
        self.assertEqual((answer.status, answer.headers["location"]), (302, "/admin/"))
        wrong = urlencode({**fields, "password": "no"}).encode()
        answer = ask(self.address, "/admin/login/", body=wrong, **posted)
        self.assertIn(b"Please enter the correct username", answer.body)
        answer = ask(self.address, "/admin/login/", body=wrong, **{**posted, "origin": "http://elsewhere.example"})
        self.assertEqual(answer.status, 403)

    def test_what_is_missing_below_static_is_not_asked_of_django(self) -> None:
        missing_file = ask(self.address, "/static/nothing.css")
        self.assertEqual(missing_file.status, 404)
        self.assertIn(b"There is no such file.", missing_file.body)
        elsewhere = ask(self.address, "/nothing")
        self.assertEqual(elsewhere.status, 404)
        self.assertNotIn(b"There is no such file.", elsewhere.body)
        self.assertEqual(ask(self.address, "/static/admin/css/base.css", method="PUT", body=b"").status, 405)

    def test_flask_is_below_its_prefix(self) -> None:
        answer = ask(self.address, "/shop/")
        self.assertIn(b'<a href="/shop/things/tea">', answer.body)
        self.assertIn(b"<h1>tea</h1>", ask(self.address, "/shop/things/tea").body)


@unittest.skipIf(missing(), missing())
class InABrowser(FrameworksCase):
    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.browser = Browser()
        cls.addClassCleanup(cls.browser.close)

    def background(self, selector: str) -> str:
        return str(self.browser.run(f"return getComputedStyle(document.querySelector('{selector}')).backgroundColor"))

    def test_a_person_logs_in_to_the_admin_and_visits_the_shop(self) -> None:
        browser = self.browser
        browser.resize(DESKTOP)
        browser.prefer(prefers_color_scheme="light")
        browser.open(self.url + "/admin/")
        self.assertEqual(self.background("#header"), "rgb(65, 118, 144)")  # of its own style sheet
        browser.screenshot("web-django-login")
        browser.one("#id_username").send_keys(LOGIN)
        browser.one("#id_password").send_keys(PASSWORD)
        browser.one("input[type=submit]").click()
        browser.wait_until(lambda: "Site administration" in browser.text("h1"))
        browser.screenshot("web-django-admin")
        browser.open(self.url + "/admin/auth/user/")
        self.assertIn("anna@example.org", browser.text("#result_list"))
        browser.screenshot("web-django-users")
        browser.resize(PHONE)
        browser.prefer(prefers_color_scheme="dark")
        browser.screenshot("web-django-users-narrow-dark")
        self.assertEqual(browser.console(), [])
        browser.open(self.url + "/shop/")
        browser.one("a").click()
        browser.wait_until(lambda: browser.text("h1") == "tea")
        browser.screenshot("web-flask")
