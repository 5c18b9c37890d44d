-- Whether somebody listens to a channel, where that is news: of all nodes that ask, one is told.
-- KEYS  1 mark
-- ARGV  1 NUMSUB or SHARDNUMSUB  2 the Pub/Sub channel  3 ms that a mark lasts without being asked about
-- Returns 1 where somebody listens now, -1 where nobody does any more, 0 where either was told before

if redis.call('PUBSUB', ARGV[1], ARGV[2])[2] == 0 then return -redis.call('DEL', KEYS[1]) end
if redis.call('PEXPIRE', KEYS[1], ARGV[3]) == 1 then return 0 end
redis.call('SET', KEYS[1], '1', 'PX', ARGV[3])
return 1
