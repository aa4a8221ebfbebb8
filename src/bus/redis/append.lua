-- Puts events at the end of the log, all or none.
-- KEYS: the log, its end. ARGV: author, the end that the caller has seen or '', how many events to show to
-- one who is behind, the payloads.
-- The second half of a place counts all events since the log began, so that whoever reads sees a gap.
local last = redis.call('GET', KEYS[2])
if not last then
  -- Without its end the log is not worth anything: this begins another one.
  redis.call('DEL', KEYS[1])
  last = '0-0'
end
if ARGV[2] ~= '' and ARGV[2] ~= last then
  return {0, last, redis.call('XRANGE', KEYS[1], '(' .. ARGV[2], '+', 'COUNT', ARGV[3])}
end
local dash = string.find(last, '-', 1, true)
local ms = tonumber(string.sub(last, 1, dash - 1))
local seq = tonumber(string.sub(last, dash + 1))
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if ms > now + 5000 then
  -- The clock was put back. Waiting until it catches up would mean not to trim all that time.
  redis.call('DEL', KEYS[1])
  seq = 0
  ms = now
elseif ms < now then
  ms = now
end
local oldest = string.format('%.0f', math.max(ms - 15000, 0))
for i = 4, #ARGV do
  seq = seq + 1
  last = string.format('%.0f-%.0f', ms, seq)
  redis.call('XADD', KEYS[1], 'MINID', '~', oldest, last, 'author', ARGV[1], 'payload', ARGV[i])
end
redis.call('SET', KEYS[2], last, 'PX', 3600000)
redis.call('PEXPIRE', KEYS[1], 3600000)
return {1, last}
