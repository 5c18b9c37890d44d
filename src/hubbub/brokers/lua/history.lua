-- Read a channel's history, and tell where it stands.
-- KEYS  1 meta  2 stream
-- ARGV  1 server  2 fresh epoch  3 ms the epoch outlives its use
--       4 epoch and 5 offset of the position to read from, empty for none
--       6 how many at most, -1 for all  7 "reverse" to read backwards
-- Returns {epoch, offset, offset to read from or '', offset, data, offset, data, ...}

local epoch, top, past = stand(KEYS[1], KEYS[2], ARGV[1], ARGV[2], ARGV[3])
local since = tonumber(ARGV[5])
if since then
  local last = ARGV[4] == epoch and top
  if not last then
    for earlier, ended in string.gmatch(past, '([^=,]+)=(%d+)') do
      if earlier == ARGV[4] then last = tonumber(ended) break end
    end
  end
  if not last or since < 0 or since > last then since = nil end
end

local answer = {epoch, string.format('%.0f', top), since and string.format('%.0f', since) or ''}
local limit = tonumber(ARGV[6])
if limit == 0 then return answer end

local reverse = ARGV[7] == 'reverse'
local from, to = '-', '+'
if since and reverse then
  if since < 1 then return answer end
  to = string.format('(%.0f-0', since)
elseif since then
  from = string.format('(%.0f-0', since)
end
local now = milliseconds()
expire(KEYS[2], now)
local range = reverse and {'XREVRANGE', KEYS[2], to, from} or {'XRANGE', KEYS[2], from, to}
if limit > 0 then
  range[5], range[6] = 'COUNT', limit
end
for _, entry in ipairs(redis.call(unpack(range))) do
  answer[#answer + 1] = string.match(entry[1], '^%d+')
  answer[#answer + 1] = entry[2][2]
end
return answer
