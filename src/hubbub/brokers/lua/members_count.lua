-- Returns {connections, clients}
bury(milliseconds())
return {redis.call('HLEN', MEMBERS), redis.call('HLEN', CLIENTS)}
