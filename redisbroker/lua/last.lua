
-- ARGV: limit, size
local log = load()
if not log then
	return {}
end
trim(log)
local newest = { log.epoch, num(log.top), 1 }
local left, size = { n = tonumber(ARGV[1]) }, { n = 0, max = tonumber(ARGV[2]) }
local before, count = '+', 1
while left.n > 0 do
	local entries = redis.call('XREVRANGE', KEYS[2], before, '-', 'COUNT', math.min(left.n, count))
	count = math.min(2 * count, 64)
	if #entries == 0 or not page(newest, entries, left, size) then
		break
	end
	before = '(' .. entries[#entries][1]
end
local result = { newest[1], newest[2], newest[3] }
for i = #newest - 1, 4, -2 do
	result[#result + 1] = newest[i]
	result[#result + 1] = newest[i + 1]
end
return result
