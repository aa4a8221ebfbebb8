-- Says that an instance is alive, and asks who is.
-- KEYS: the instances, the log, its end. ARGV: the instance, for how long this holds in ms; 0: it leaves.
-- Nothing of ours stays in Redis for more than an hour after the last instance.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if ARGV[2] == '0' then
  redis.call('ZREM', KEYS[1], ARGV[1])
else
  redis.call('ZADD', KEYS[1], string.format('%.0f', now + ARGV[2]), ARGV[1])
end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now))
-- Those from before the clock was put back.
redis.call('ZREMRANGEBYSCORE', KEYS[1], string.format('(%.0f', now + 3600000), '+inf')
for i = 1, #KEYS do
  redis.call('PEXPIRE', KEYS[i], 3600000)
end
return {
  string.format('%.0f', now),
  redis.call('GET', KEYS[3]) or '0-0',
  redis.call('ZRANGE', KEYS[1], 0, 1023),
}
