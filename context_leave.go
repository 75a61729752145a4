package pond

// A LeaveContext carries the end of one membership. It is not cancelled with the
// connection.
type LeaveContext struct {
	stdContext
	member *member
	reason LeaveReason
	detail string
}

// A LeaveReason is the reason why a membership ended.
type LeaveReason string

// The reasons.
const (
	LeaveRequested     LeaveReason = "explicit_leave"    // the client requested to leave
	LeaveDisconnected  LeaveReason = "connection_closed" // the connection ended
	LeaveEvicted       LeaveReason = "evicted"           // see [Channel.Evict]
	LeaveChannelClosed LeaveReason = "channel_closed"    // see [Channel.Close]
	LeaveShutdown      LeaveReason = "server_shutdown"   // see [Pond.Shutdown]
	LeaveSlow          LeaveReason = "slow_consumer"     // the client did not keep up
)

// Channel returns the channel that the member left.
func (c *LeaveContext) Channel() *Channel { return c.member.channel }

// Param returns a parameter of the channel's name; see [Channel.Param].
func (c *LeaveContext) Param(name string) string { return c.member.channel.Param(name) }

// User returns the member as it was when it left.
func (c *LeaveContext) User() User { return c.member.user() }

// Reason returns why the membership ended.
func (c *LeaveContext) Reason() LeaveReason { return c.reason }

// Detail returns the text that was passed to [Channel.Evict] or [Channel.Close]. It is
// empty for all other reasons.
func (c *LeaveContext) Detail() string { return c.detail }

// Get returns a value that was set with Assign for the member, or nil.
func (c *LeaveContext) Get(key string) any { return c.User().Get(key) }

// Broadcast sends an event to the members that remain; see [Audience.Broadcast].
func (c *LeaveContext) Broadcast(event string, payload any) error {
	return c.member.channel.Broadcast(event, payload)
}
