package transport

// Waiting returns the bytes that wait for the client.
func (c *Conn) Waiting() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.waiting
}

// Registered returns the number of connections on the wheels.
func (h *Hub) Registered() (n int) {
	for _, s := range h.shards {
		n += len(s.connections())
	}
	return n
}

// The encodings of event streams.
const (
	SSENamed          = sseNamed
	SSEUnnamed        = sseUnnamed
	SSENamedChunked   = sseNamedChunked
	SSEUnnamedChunked = sseUnnamedChunked
)

// Encoded returns the frame as clients with that encoding get it.
func (f *Frame) Encoded(e encoding) []byte { return f.bytes(e, 0) }
