package redisbroker

import "time"

// Held returns how many calls of AwaitSubscribers wait until other nodes are subscribed
// again.
func (b *Broker) Held() (messages int) {
	b.holder.mu.Lock()
	defer b.holder.mu.Unlock()
	for _, o := range b.holder.holds {
		messages += len(o.messages)
	}
	return messages
}

// SetHoldTime changes the time for which messages are held after an outage. It must be
// called before the first outage.
func (b *Broker) SetHoldTime(d time.Duration) { b.holder.limit = d }
