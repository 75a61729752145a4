package memorybroker

// Logs returns the number of logs in memory.
func (b *Bus) Logs() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.logs)
}

// Producers returns the number of producers that a log stores.
func (b *Bus) Producers(topic string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.logs[topic].producers)
}
