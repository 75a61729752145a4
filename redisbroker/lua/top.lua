
local log = load()
if not log then
	return {}
end
return { log.epoch, num(log.top) }
