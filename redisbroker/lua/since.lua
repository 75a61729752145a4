
-- ARGV: epoch, offset, limit, size
local log = load()
if not log then
	return {}
end
trim(log)
local result = { log.epoch, num(log.top), 0 }
local from = tonumber(ARGV[2])
if ARGV[1] == '' then
	from = 0
elseif ARGV[1] ~= log.epoch or from > log.top then
	return result
end
local left, size = { n = tonumber(ARGV[3]) }, { n = 0, max = tonumber(ARGV[4]) }
local at, count = from + 1, 1 -- a page may have many small entries, or few large ones
while left.n > 0 do
	local entries = redis.call('XRANGE', KEYS[2], num(at) .. '-0', '+', 'COUNT', math.min(left.n, count))
	count = math.min(2 * count, 64)
	if at == from + 1 then -- the first ones tell what is missing
		local first = log.top + 1
		if #entries > 0 then
			first = offset(entries[1][1])
		end
		result[3] = first <= from + 1 and 1 or 0
	end
	if #entries == 0 or not page(result, entries, left, size) then
		break
	end
	at = offset(entries[#entries][1]) + 1
end
return result
