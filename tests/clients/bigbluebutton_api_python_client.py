"""Drives a BigBlueButton API with the library bigbluebutton-api-python, and checks what comes back.

    bigbluebutton_api_python_client.py BASE_URL SECRET MEETING_ID

What this client adds to the others: urllib and its cookie jar, `+` for a space, the checksum as the only
parameter of getMeetings, and answers of which every element must be there. BASE_URL ends in
/bigbluebutton/api, with or without a slash.
"""

import sys
import time
from http.cookiejar import CookieJar
from urllib.request import HTTPCookieProcessor, build_opener

from bigbluebutton_api_python import BigBlueButton
from bigbluebutton_api_python.exception import BBBException

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
    except BBBException as exception:
        return exception.key
    raise AssertionError(f"this should have failed: {answer}")


def ids(api):
    return {meeting.get_meetingid() for meeting in api.get_meetings().get_meetings()}


def main(base_url, secret, meeting_id):
    base_url = base_url.rstrip("/") + "/"
    api = BigBlueButton(base_url, secret)
    assert api.get_api_version().get_version() == "2.0"

    # Two meetings, as this library reads a list of one wrongly.
    other_id = meeting_id + " other/id"
    options = {"name": NAME, "attendeePW": "a p", "moderatorPW": "m&p", "record": False}
    first = api.create_meeting(meeting_id, dict(options), meta={"Course-Title": NAME})
    assert first.get_meetingid() == meeting_id, first
    assert first.get_moderator_pw() == "m&p", first
    assert not first.has_been_forcibly_ended(), first
    again = api.create_meeting(meeting_id, dict(options), meta={"Course-Title": NAME})
    assert again.get_message_key() == "duplicateWarning", again
    assert again.get_field("internalMeetingID") == first.get_field("internalMeetingID"), again
    clash = dict(options, moderatorPW="another")
    assert failure(lambda: api.create_meeting(meeting_id, clash)) == "idNotUnique"
    other = api.create_meeting(other_id, dict(options))
    assert other.get_meetingid() == other_id, other

    assert ids(api) >= {meeting_id, other_id}
    info = api.get_meeting_info(meeting_id).get_meetinginfo()
    assert info.get_meetingid() == meeting_id
    assert info.get_meetingname() == NAME
    assert info.get_internal_meetingid() == first.get_field("internalMeetingID")
    assert api.get_meeting_info(meeting_id).get_field("metadata")["course-title"] == NAME
    assert not api.is_meeting_running(meeting_id).is_meeting_running()
    assert not api.is_meeting_running(meeting_id + "-unknown").is_meeting_running()
    assert failure(lambda: api.get_meeting_info(meeting_id + "-unknown")) == "notFound"

    cookies = CookieJar()
    browser = build_opener(HTTPCookieProcessor(cookies))
    url = api.get_join_meeting_url("Zoë O'Brien", meeting_id, "m&p", {"userID": "u 1"})
    with browser.open(url, timeout=10) as page:
        assert page.status == 200, page.status
        assert "sessionToken=" in page.url, page.url
        assert page.read()
    assert "JSESSIONID" in {cookie.name for cookie in cookies}, cookies
    eventually(
        lambda: api.is_meeting_running(meeting_id).is_meeting_running(),
        "the meeting runs with somebody in it",
    )
    eventually(
        lambda: [a.get_fullname() for a in api.get_meeting_info(meeting_id).get_attendees()]
        == ["Zoë O'Brien"],
        "the attendee is in the meeting's information",
    )

    stranger = BigBlueButton(base_url, secret + "x")
    assert failure(stranger.get_meetings) == "checksumError"
    assert failure(lambda: stranger.end_meeting(meeting_id, "m&p")) == "checksumError"
    assert failure(lambda: stranger.create_meeting(meeting_id, dict(options))) == "checksumError"

    for ended, password in ((meeting_id, "m&p"), (other_id, "m&p")):
        answer = api.end_meeting(ended, password)
        assert answer.get_message_key() == "sentEndMeetingRequest", answer
    eventually(
        lambda: not api.is_meeting_running(meeting_id).is_meeting_running(), "the meeting has ended"
    )
    assert failure(lambda: api.end_meeting(meeting_id + "-unknown", "m&p")) == "notFound"


if __name__ == "__main__":
    main(*sys.argv[1:])
    print("ok")
