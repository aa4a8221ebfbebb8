// Drives a BigBlueButton API with the package bigbluebutton-js, and checks what comes back.
//
//     node bigbluebutton_js_client.mjs BASE_URL SECRET MEETING_ID
//
// What this client adds to the others: a base URL without /api, `%20` for a space, and axios, which takes
// every answer that is not 2xx for an error. BASE_URL ends in /bigbluebutton/api, with or without a slash.

import assert from 'node:assert/strict'
import { createRequire } from 'node:module'

// Where `make clients` installs it.
const require = createRequire(new URL('../../target/clients/node/', import.meta.url))
const bbb = require('bigbluebutton-js')

const NAME = 'Übung zu C++ & Algebra: 50 %'
const [baseUrl, secret, meetingId] = process.argv.slice(2)
const host = baseUrl.replace(/\/api\/?$/, '')

const { administration, monitoring } = bbb.api(host, secret)
const call = bbb.http

/** What the answer says: this package leaves XML's entities as they came. */
const said = (text) =>
  text.replaceAll('&lt;', '<').replaceAll('&gt;', '>').replaceAll('&amp;', '&')

/** Waits for what a load balancer may show a little later than it happens. */
async function eventually(condition, what) {
  const deadline = Date.now() + 15_000
  while (!(await condition())) {
    assert(Date.now() < deadline, `still not so after 15 s: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
}

/** A browser, as far as it matters: follows redirects and keeps cookies. */
async function browse(url) {
  const cookies = new Map()
  for (let hops = 0; hops < 5; hops++) {
    const cookie = [...cookies].map(([name, value]) => `${name}=${value}`).join('; ')
    const answer = await fetch(url, { redirect: 'manual', headers: { cookie } })
    for (const line of answer.headers.getSetCookie()) {
      const [name, value] = line.split(';')[0].split('=')
      cookies.set(name, value)
    }
    if (answer.status !== 302) return { answer, url, cookies, page: await answer.text() }
    url = new URL(answer.headers.get('location'), url).href
  }
  assert.fail(`too many redirects, the last to ${url}`)
}

async function isRunning() {
  const answer = await call(monitoring.isMeetingRunning(meetingId))
  assert.equal(answer.returncode, 'SUCCESS')
  return answer.running
}

const passwords = { attendeePW: 'a p', moderatorPW: 'm&p' }
const create = () =>
  administration.create(NAME, meetingId, { ...passwords, 'meta_course-title': NAME, duration: 120 })

const created = await call(create())
assert.equal(created.returncode, 'SUCCESS')
assert.equal(created.meetingID, meetingId)
assert.equal(said(created.moderatorPW), 'm&p')
assert.equal(created.duration, 120)
assert.equal(created.messageKey, '')

const again = await call(create())
assert.equal(again.returncode, 'SUCCESS')
assert.equal(again.messageKey, 'duplicateWarning')
assert.equal(again.internalMeetingID, created.internalMeetingID)
assert.equal(again.createTime, created.createTime)

const clash = await call(administration.create(NAME, meetingId, { moderatorPW: 'other' }))
assert.deepEqual([clash.returncode, clash.messageKey], ['FAILED', 'idNotUnique'])

assert.equal(await isRunning(), false)
const info = await call(monitoring.getMeetingInfo(meetingId))
assert.equal(info.returncode, 'SUCCESS')
assert.equal(info.meetingID, meetingId)
assert.equal(said(info.meetingName), NAME)
assert.equal(info.internalMeetingID, created.internalMeetingID)
assert.equal(said(info.metadata['course-title']), NAME)

const listed = await call(monitoring.getMeetings())
assert.equal(listed.returncode, 'SUCCESS')
const mine = listed.meetings.filter((meeting) => meeting.meetingID === meetingId)
assert.equal(mine.length, 1)
assert.equal(mine[0].createTime, created.createTime)

// With a password, and with a role instead.
for (const [name, password, role] of [['Zoë O’Brien', 'a p'], ['Max', '', 'MODERATOR']]) {
  const { answer, url, cookies, page } = await browse(
    administration.join(name, meetingId, password, role ? { role } : {}),
  )
  assert.equal(answer.status, 200)
  assert.match(url, /sessionToken=/)
  assert(cookies.has('JSESSIONID'))
  assert(page.length > 0)
}
await eventually(isRunning, 'the meeting runs with somebody in it')
await eventually(async () => {
  const { participantCount } = await call(monitoring.getMeetingInfo(meetingId))
  return participantCount === 2
}, 'both are counted in getMeetingInfo')

const stranger = bbb.api(host, `${secret}x`)
for (const url of [
  stranger.monitoring.getMeetings(),
  stranger.monitoring.getMeetingInfo(meetingId),
  stranger.administration.end(meetingId, 'm&p'),
]) {
  const refused = await call(url)
  assert.deepEqual([refused.returncode, refused.messageKey], ['FAILED', 'checksumError'])
}

const ended = await call(administration.end(meetingId, 'm&p'))
assert.deepEqual([ended.returncode, ended.messageKey], ['SUCCESS', 'sentEndMeetingRequest'])
await eventually(async () => !(await isRunning()), 'the meeting has ended')
const unknown = await call(administration.end(`${meetingId}-unknown`, 'm&p'))
assert.deepEqual([unknown.returncode, unknown.messageKey], ['FAILED', 'notFound'])

console.log('ok')
