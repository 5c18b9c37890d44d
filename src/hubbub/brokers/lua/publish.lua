-- Append to a channel's history and send to every node that listens, as one step.
-- KEYS  1 meta  2 stream  3 result of the idempotency key
-- ARGV  1 server  2 fresh epoch  3 ms the epoch outlives its use  4 data  5 size  6 ttl in ms
--       7 ms an idempotency key counts, 0 for none  8 PUBLISH or SPUBLISH  9 the Pub/Sub channel
-- Returns {epoch, offset}; the epoch is empty without history.

if ARGV[7] ~= '0' then
  local result = redis.call('GET', KEYS[3])
  if result then
    -- A write, so that WAIT on this connection counts the replicas that have the first one's, too.
    redis.call('PEXPIRE', KEYS[3], redis.call('PTTL', KEYS[3]))
    local comma = string.find(result, ',', 1, true)
    return {string.sub(result, 1, comma - 1), string.sub(result, comma + 1)}
  end
end

local epoch, offset = '', '0'
if ARGV[5] ~= '0' then
  local top
  epoch, top = stand(KEYS[1], KEYS[2], ARGV[1], ARGV[2], ARGV[3])
  offset = string.format('%.0f', top + 1)
  local now, ttl = milliseconds(), tonumber(ARGV[6])
  redis.call('HSET', KEYS[1], 'offset', offset)
  redis.call('XADD', KEYS[2], 'MAXLEN', ARGV[5], offset .. '-0', 'd', ARGV[4], 'x', string.format('%.0f', now + ttl))
  expire(KEYS[2], now)
  if redis.call('PTTL', KEYS[2]) < ttl then redis.call('PEXPIRE', KEYS[2], ARGV[6]) end
end

if ARGV[7] ~= '0' then
  redis.call('SET', KEYS[3], epoch .. ',' .. offset, 'PX', ARGV[7])
end
redis.call(ARGV[8], ARGV[9], epoch .. ',' .. offset .. ',' .. ARGV[4])
return {epoch, offset}
