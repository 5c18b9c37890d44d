-- Returns 1, or 0 where the node had no entries here: it is new, or its entries have expired.
-- ARGV  1 node  2 ttl in ms  3 connection id  4 entry
local now = milliseconds()
bury(now)
local known = redis.call('ZSCORE', NODES, ARGV[1])
take_in(ARGV[3], ARGV[4])
lives(ARGV[1], now, tonumber(ARGV[2]))
return known and 1 or 0
