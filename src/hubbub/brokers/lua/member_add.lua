-- ARGV  1 node  2 ttl in ms  3 connection id  4 entry
local now = milliseconds()
bury(now)
take_in(ARGV[3], ARGV[4])
lives(ARGV[1], now, tonumber(ARGV[2]))
return 1
