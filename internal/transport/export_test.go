package transport

// Waiting returns the bytes that wait for the client.
func (c *Conn) Waiting() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.waiting
}
