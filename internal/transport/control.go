package transport

import (
	"time"

	"github.com/pondsocket/pond/internal/ws"
)

// maxPongs is the number of pings in one read that are all answered. If there are more,
// only the last one is answered as well (RFC 6455 section 5.5.3).
const maxPongs = 16

// ErrControlRate means that the client sent too many control frames.
var ErrControlRate = &ws.CloseError{Code: ws.ClosePolicy, Reason: "too many control frames"}

// controls handle the control frames of one client.
type controls struct {
	allowed time.Time // when the rate is below the limit again, if the client sends nothing until then
	pongs   *pongs    // nil unless a ping arrived in the current read
}

// pongs are the answers to the pings of one read.
type pongs struct {
	frames []byte // not sent yet
	n      int    // pings of this read
	last   []byte // payload of the last ping that is not in frames; nil if there is none
}

// take counts one control frame. It returns false if the client exceeds the limit.
func (k *controls) take(cfg *Config) bool {
	if cfg.ControlRate <= 0 {
		return true
	}
	now := time.Now()
	if k.allowed.Before(now) {
		k.allowed = now
	}
	each := time.Duration(float64(time.Second) / cfg.ControlRate)
	if k.allowed.Sub(now) > time.Duration(cfg.ControlBurst-1)*each {
		return false
	}
	k.allowed = k.allowed.Add(each)
	return true
}

// ping records a ping, which sendPongs answers.
func (k *controls) ping(payload []byte) {
	if k.pongs == nil {
		k.pongs = new(pongs)
	}
	p := k.pongs
	if p.n++; p.n <= maxPongs {
		p.frames = ws.AppendFrame(p.frames, ws.Pong, false, payload)
	} else {
		p.last = append(p.last[:0], payload...)
		if p.last == nil {
			p.last = []byte{}
		}
	}
}

// sendPongs sends the pongs of a read in one write. It is called at the end of a read,
// and before a message, because the Receiver may wait.
func (c *Conn) sendPongs(endOfRead bool) {
	p := c.controls.pongs
	if p == nil {
		return
	}
	if endOfRead {
		c.controls.pongs = nil
		if p.last != nil {
			p.frames = ws.AppendFrame(p.frames, ws.Pong, false, p.last)
		}
	}
	if len(p.frames) > 0 {
		c.Send(rawFrame(p.frames))
		p.frames = nil
	}
}
