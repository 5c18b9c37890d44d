-- ARGV  1 connection id
local entry = redis.call('HGET', MEMBERS, ARGV[1])
if entry then let_go(ARGV[1], entry) end
return 1
