"""Drives a BigBlueButton API with the library bigbluebutton2 and its bbb-cli, and checks what comes back.

    bigbluebutton2_client.py BASE_URL SECRET MEETING_ID

What this client adds to the others: one requests session with its cookies for all calls, a create with
dozens of parameters, `getMeetings?&checksum=`, join with redirect=false and with createTime, and answers
that are read into typed fields. BASE_URL ends in /bigbluebutton/api, with or without a slash.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

import requests
from bigbluebutton import Attendee, BigBlueButtonGroup, Role
from bigbluebutton.api.bigbluebutton import BigBlueButtonError

NAME = "Übung zu C++ & Algebra: 50 %"


def eventually(condition, what):
    """Waits for what a load balancer may show a little later than it happens."""
    deadline = time.monotonic() + 15
    while not condition():
        assert time.monotonic() < deadline, f"still not so after 15 s: {what}"
        time.sleep(0.1)


def failure(call):
    """The message key of a call that must fail."""
    try:
        answer = call()
    except BigBlueButtonError as error:
        return getattr(error, "message_key", str(error))
    raise AssertionError(f"this should have failed: {answer}")


def assert_page(session, url):
    """A person's browser: ends on a page of the node, with a session there."""
    page = session.get(url, timeout=10)
    assert page.status_code == 200, page.status_code
    assert "sessionToken=" in page.url, page.url
    assert page.text


def library(base_url, secret, meeting_id):
    group = BigBlueButtonGroup("tests", origin="tests & more", origin_server_name="localhost")
    api = group.new("portico", base_url, secret)

    def create():
        return group.create_meeting(
            meeting_id=meeting_id, meeting_name=NAME, attendee_pw="a p", moderator_pw="m&p"
        )

    meeting = create()
    assert meeting.meeting_id == meeting_id
    assert meeting.meeting_name == NAME
    assert meeting.meta["bbb-origin"] == "tests & more", meeting.meta
    created = meeting.create_time
    assert created > 0
    assert create().create_time == created
    assert failure(
        lambda: api._request("create", {"meetingID": meeting_id, "name": NAME, "moderatorPW": "other"})
    ) == "idNotUnique"

    listed = group.get_meetings()
    assert listed[meeting_id].meeting_name == NAME, listed
    assert listed[meeting_id].create_time == created, listed
    assert not group.is_meeting_running(meeting_id)

    # On behalf of somebody: the node's XML, and its session cookie, come back through us.
    anna = Attendee(meeting, "Anna Müller", role=Role.MODERATOR)
    url = anna.join()
    assert anna.session_token and anna.auth_token and anna.user_id, anna
    assert "JSESSIONID" in api._session.cookies, api._session.cookies
    assert_page(api._session, url)

    # By somebody's own browser.
    bert = Attendee(meeting, "Bert + Ernie", role=Role.VIEWER)
    browser = requests.Session()
    assert_page(browser, bert.join(do_join=False))
    assert "JSESSIONID" in browser.cookies, browser.cookies

    eventually(meeting.is_meeting_running, "the meeting runs with somebody in it")
    eventually(
        lambda: meeting.get_meeting_info().participant_count == 2, "both are counted in getMeetingInfo"
    )
    assert {a.full_name: a.role for a in meeting.attendees.values()} == {
        "Anna Müller": Role.MODERATOR,
        "Bert + Ernie": Role.VIEWER,
    }

    stranger = BigBlueButtonGroup("strangers").new("portico", base_url, secret + "x")
    assert failure(stranger.get_meetings) == "checksumError"
    assert failure(lambda: stranger._request("end", {"meetingID": meeting_id})) == "checksumError"
    return group, meeting


def command_line(base_url, secret, group, meeting):
    def bbb_cli(*arguments):
        # Through the interpreter: a script's own first line breaks when the directory is moved.
        script = Path(sys.executable).with_name("bbb-cli")
        # "Opening the browser" prints the address instead.
        environment = dict(os.environ, BROWSER="echo %s", PYTHONUTF8="1", COLUMNS="200")
        command = [sys.executable, script, "--url", base_url, "--secret", secret, *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30)
        assert done.returncode == 0, (arguments, done.stdout, done.stderr)
        return done.stdout

    assert meeting.meeting_id in bbb_cli("meetings", "list")

    said = bbb_cli("meetings", "create", "--name", NAME)
    created_id = said.split()[2]
    assert said.strip() == f"Meeting ID {created_id} created.", said
    assert NAME in bbb_cli("meetings", "list")

    said = bbb_cli("meeting", created_id, "join", "--full-name", "Cleo & Co", "--role", "MODERATOR")
    browser = requests.Session()
    assert_page(browser, said.split()[-1])
    eventually(
        lambda: "Cleo & Co" in bbb_cli("meeting", created_id, "attendees"),
        "bbb-cli lists who has joined",
    )

    for ended in (created_id, meeting.meeting_id):
        # Asked anew: the library has not seen what bbb-cli created.
        group.get_meetings()
        group.end_meeting(ended)
    eventually(lambda: not meeting.is_meeting_running(), "the meeting has ended")


def main(base_url, secret, meeting_id):
    base_url = base_url.rstrip("/") + "/"
    group, meeting = library(base_url, secret, meeting_id)
    command_line(base_url, secret, group, meeting)


if __name__ == "__main__":
    main(*sys.argv[1:])
    print("ok")
