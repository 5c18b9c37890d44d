-- Returns {connection id, entry, connection id, entry, ...}
bury(milliseconds())
return redis.call('HGETALL', MEMBERS)
