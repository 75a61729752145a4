-- A log is a hash with its state and a stream with its entries.
--
-- KEYS[1], the state: epoch; replid, the replication ID of the server that began it; top,
-- the newest offset; bytes, of all messages so far; the retention as messages, size and
-- age (ms); p:NAME and t:NAME, the number of the last message of a producer and its time;
-- pruned, when producers were forgotten last.
--
-- KEYS[2], the entries: the ID is OFFSET-TIME, d the message, b the bytes before it.
--
-- Another replication ID means that the server was restarted or that a replica took over.
-- Entries may be lost then, so the log begins again: its offsets must not be used twice.

local replid = string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)')
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

-- num formats a number without an exponent.
local function num(n) return string.format('%.0f', n) end

-- load returns the state, or nil if there is no log.
local function load()
	local v = redis.call('HMGET', KEYS[1], 'replid', 'epoch', 'top', 'bytes', 'messages', 'size', 'age', 'pruned')
	if v[1] ~= replid then
		return nil
	end
	return {
		epoch = v[2], top = tonumber(v[3]), bytes = tonumber(v[4]),
		messages = tonumber(v[5]), size = tonumber(v[6]), age = tonumber(v[7]), pruned = tonumber(v[8]),
	}
end

-- open returns the state, with a new retention, of a new log if there is none.
local function open(epoch, messages, size, age)
	local log = load()
	if not log then
		redis.call('DEL', KEYS[1], KEYS[2])
		log = { epoch = epoch, top = 0, bytes = 0, pruned = now }
		redis.call('HSET', KEYS[1], 'replid', replid, 'epoch', epoch, 'top', '0', 'bytes', '0', 'pruned', num(now))
	end
	if log.messages ~= tonumber(messages) or log.size ~= tonumber(size) or log.age ~= tonumber(age) then
		log.messages, log.size, log.age = tonumber(messages), tonumber(size), tonumber(age)
		redis.call('HSET', KEYS[1], 'messages', messages, 'size', size, 'age', age)
	end
	return log
end

-- offset returns the offset and the time in the ID of an entry.
local function offset(id)
	local o, t = string.match(id, '^(%d+)-(%d+)$')
	return tonumber(o), tonumber(t)
end

-- trim drops the oldest entries beyond the retention.
local function trim(log)
	redis.call('XTRIM', KEYS[2], 'MAXLEN', log.messages)
	local count = 1 -- mostly, the first one stays
	while true do
		local first = redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', count)
		count = math.min(2 * count, 64)
		local keep
		for _, entry in ipairs(first) do
			local o, t = offset(entry[1])
			local large = log.bytes - tonumber(entry[2][4]) > log.size and o < log.top
			if not large and t > now - log.age then
				keep = entry[1]
				break
			end
		end
		if #first == 0 or keep == first[1][1] then
			return
		end
		if keep then
			redis.call('XTRIM', KEYS[2], 'MINID', keep)
			return
		end
		local last = offset(first[#first][1])
		redis.call('XTRIM', KEYS[2], 'MINID', num(last + 1) .. '-0')
	end
end

-- renew keeps a log for another age.
local function renew(log)
	redis.call('PEXPIRE', KEYS[1], log.age)
	redis.call('PEXPIRE', KEYS[2], log.age)
end

-- page adds entries to the result, within a number and a size. They come in the order of
-- the result, and the others are left out.
local function page(result, entries, left, size)
	for _, entry in ipairs(entries) do
		size.n = size.n + #entry[2][2]
		if left.n <= 0 or size.n > size.max and #result > 3 then
			return false
		end
		left.n = left.n - 1
		result[#result + 1] = num(offset(entry[1]))
		result[#result + 1] = entry[2][2]
	end
	return true
end
