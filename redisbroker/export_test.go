package redisbroker

import "time"

// SetHoldTime changes the time for which messages are held after an outage. It must be
// called before the first outage.
func (b *Broker) SetHoldTime(d time.Duration) { b.holder.limit = d }
