-- A node's entries live on. Returns 1, or 0 where they had expired.
-- ARGV  1 node  2 ttl in ms
local now = milliseconds()
bury(now)
if not redis.call('ZSCORE', NODES, ARGV[1]) then return 0 end
lives(ARGV[1], now, tonumber(ARGV[2]))
return 1
