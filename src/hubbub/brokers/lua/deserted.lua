-- Whether no node listens to a channel; of those who ask within a while, one is told so.
-- KEYS  1 claim
-- ARGV  1 NUMSUB or SHARDNUMSUB  2 the Pub/Sub channel  3 ms that a claim lasts
-- Returns 1 or 0

if redis.call('PUBSUB', ARGV[1], ARGV[2])[2] > 0 then return 0 end
return redis.call('SET', KEYS[1], '1', 'NX', 'PX', ARGV[3]) and 1 or 0
