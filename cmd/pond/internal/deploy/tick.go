package deploy

import (
	"context"
	"time"
)

// Tick calls send with the number of each interval when the interval starts, until
// ctx is done. If it is late, it does not skip numbers.
func Tick(ctx context.Context, every time.Duration, send func(n int64)) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	last := time.Now().UnixNano() / int64(every)
	for {
		now := time.Now().UnixNano()
		for ; last < now/int64(every); last++ {
			send(last + 1)
		}
		timer.Reset(every - time.Duration(now%int64(every)))
		select {
		case <-timer.C:
		case <-ctx.Done():
			return
		}
	}
}
