-- Tell where a channel's history stands.
-- KEYS  1 meta  2 stream
-- ARGV  1 server  2 fresh epoch  3 ms the epoch outlives its use
-- Returns {epoch, offset}

local epoch, top = stand(KEYS[1], KEYS[2], ARGV[1], ARGV[2], ARGV[3])
return {epoch, string.format('%.0f', top)}
