-- Of a node's connections exactly these are in the channel.
-- ARGV  1 node  2 ttl in ms  3 connection id  4 entry  5 connection id  6 entry ...
local now = milliseconds()
bury(now)
let_go_of_nodes({[ARGV[1]] = true})
for i = 3, #ARGV, 2 do take_in(ARGV[i], ARGV[i + 1]) end
if #ARGV > 2 then lives(ARGV[1], now, tonumber(ARGV[2])) else redis.call('ZREM', NODES, ARGV[1]) end
return 1
