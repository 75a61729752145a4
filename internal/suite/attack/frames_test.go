package attack_test

import (
	"bytes"
	"compress/flate"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/internal/suite/kit"
	"github.com/pondsocket/pond/internal/ws"
	"github.com/pondsocket/pond/pondtest"
)

const ask = `{"action":"BROADCAST","event":"ask","channelName":"/chat/1","requestId":"r","payload":{"a":"0123456789"}}`

var someMask = [4]byte{0x12, 0x34, 0x56, 0x78}

// fragments returns the frames of a text message: one byte per frame, and a ping
// before each frame but the first.
func fragments(message string) (frames []byte) {
	for i := range len(message) {
		op := ws.Continuation
		if i == 0 {
			op = ws.Text
		} else {
			frames = ws.AppendMasked(frames, ws.Ping, true, false, someMask, []byte("between"))
		}
		frames = ws.AppendMasked(frames, op, i == len(message)-1, false, someMask, []byte(message[i:i+1]))
	}
	return frames
}

// A message may consist of one-byte fragments with pings between them, up to the
// limit of fragments.
func TestAttackOneByteFragments(t *testing.T) {
	for _, tc := range []struct {
		limit int
		ok    bool
	}{{len(ask), true}, {len(ask) - 1, false}} {
		var met kit.Limits
		p := pond.New(met.Observer())
		l := p.Endpoint("/socket", kit.Accept, pond.WithMaxFragments(tc.limit)).Lobby("/chat/:room", kit.Admit)
		l.OnMessage("ask", func(ctx *pond.EventContext) error { return ctx.Reply("answer", ctx.Payload()) })
		pondtest.Run(t, p, func(t *testing.T, d *pondtest.Driver) {
			s := d.Connect(pondtest.WebSocket, "/socket")
			s.Join("/chat/1", nil)
			s.SendFrame(fragments(ask))
			if tc.ok {
				kit.Is(t, s.Receive(), "SYSTEM", "answer", `{"a":"0123456789"}`)
				s.Quiet()
			} else if code, _ := s.Closed(); code != ws.ClosePolicy {
				t.Errorf("closed with %d", code)
			}
			if observed := met.Of(pond.LimitFragments) > 0; observed == tc.ok {
				t.Errorf("limit of %d fragments: observed %t", tc.limit, observed)
			}
		})
	}
}

// Empty fragments do not add to the size of a message, so their number is limited.
// The server does not decode anything after the limit.
func TestAttackFragmentFlood(t *testing.T) {
	const flood = 1_000_000 / kit.Slowdown
	var met kit.Limits
	p := pond.New(met.Observer())
	p.Endpoint("/socket", kit.Accept)
	pondtest.Run(t, p, func(t *testing.T, d *pondtest.Driver) {
		s := d.Connect(pondtest.WebSocket, "/socket")
		frames := ws.AppendMasked(nil, ws.Text, false, false, someMask, nil)
		frames = append(frames, bytes.Repeat(ws.AppendMasked(nil, ws.Continuation, false, false, someMask, nil), flood)...)
		before := allocated()
		s.SendFrame(frames)
		if code, reason := s.Closed(); code != ws.ClosePolicy || !strings.Contains(reason, "fragments") {
			t.Errorf("closed with %d %q", code, reason)
		}
		if n := allocated() - before; n > 1<<20 {
			t.Errorf("%d bytes were allocated", n)
		}
		if n := met.Of(pond.LimitFragments); n != 1 {
			t.Errorf("observed %d times", n)
		}
	})
}

// The size limit is for the sum of all fragments, not for each of them.
func TestAttackFragmentsOfOneMessageAddUp(t *testing.T) {
	p, _, _ := kit.NewPond(pond.WithMaxMessageSize(10_000))
	pondtest.Run(t, p, func(t *testing.T, d *pondtest.Driver) {
		s := d.Connect(pondtest.WebSocket, "/socket")
		part := []byte(strings.Repeat("x", 999))
		s.SendFrame(ws.AppendMasked(nil, ws.Text, false, false, someMask, part))
		for range 9 {
			s.SendFrame(ws.AppendMasked(nil, ws.Continuation, false, false, someMask, part))
		}
		s.Quiet()
		s.SendFrame(ws.AppendMasked(nil, ws.Continuation, false, false, someMask, part))
		if m := s.Receive(); kit.Status(t, m) != 413 {
			t.Errorf("got %v", m)
		}
		if code, _ := s.Closed(); code != ws.CloseTooBig {
			t.Errorf("closed with %d", code)
		}
	})
}

// A frame header may claim any length. The server only allocates memory for bytes
// that arrive.
func TestAttackFrameLengthLie(t *testing.T) {
	for name, tc := range map[string]struct {
		header []byte
		code   int
	}{
		"one byte more than allowed": {[]byte{0x81, 0xff, 0, 0, 0, 0, 0, 0x10, 0, 1}, ws.CloseTooBig},
		"all there is":               {[]byte{0x81, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, ws.CloseTooBig},
		"negative":                   {[]byte{0x81, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, ws.CloseProtocolError},
		"long ping":                  {[]byte{0x89, 0xff, 0, 0, 0, 0, 0, 0, 1, 0}, ws.CloseProtocolError},
	} {
		t.Run(name, func(t *testing.T) {
			p, _, _ := kit.NewPond()
			pondtest.Run(t, p, func(t *testing.T, d *pondtest.Driver) {
				s := d.Connect(pondtest.WebSocket, "/socket")
				s.SendFrame(append(tc.header, 1, 2, 3, 4))
				if code, _ := s.Closed(); code != tc.code {
					t.Errorf("closed with %d, want %d", code, tc.code)
				}
			})
		})
	}
	t.Run("as much as allowed", func(t *testing.T) {
		const clients = 64
		p, _, _ := kit.NewPond()
		pondtest.Run(t, p, func(t *testing.T, d *pondtest.Driver) {
			var sessions []*pondtest.Session
			for range clients {
				sessions = append(sessions, d.Connect(pondtest.WebSocket, "/socket"))
			}
			before := kit.Heap()
			for _, s := range sessions {
				s.SendFrame([]byte{0x81, 0xff, 0, 0, 0, 0, 0, 0x10, 0, 0, 1, 2, 3, 4, 'x'})
				s.Quiet()
			}
			if n := kit.Heap() - before; n > clients*(16<<10) { // each frame claimed a MiB
				t.Errorf("%d bytes are kept for one byte of each message", n)
			}
		})
	})
}

// A client that floods the server with pings is disconnected. If the limit of control
// frames is high, pongs for a client that does not read are few, since only some pings
// of each read are answered.
func TestAttackPingFlood(t *testing.T) {
	const flood = 100_000
	for name, tc := range map[string]struct {
		options []pond.EndpointOption
		closed  bool
	}{
		"by default":     {nil, true},
		"without a rate": {[]pond.EndpointOption{pond.WithControlRateLimit(1e9, 1e9)}, false},
	} {
		t.Run(name, func(t *testing.T) {
			var met kit.Limits
			p := pond.New(met.Observer())
			p.Endpoint("/socket", kit.Accept, tc.options...)
			pondtest.Run(t, p, func(t *testing.T, d *pondtest.Driver) {
				s := d.Connect(pondtest.WebSocket, "/socket")
				s.Stall()
				pings := bytes.Repeat(ws.AppendMasked(nil, ws.Ping, true, false, someMask, nil), flood/50)
				before, most := kit.Heap(), int64(0)
				for range 50 {
					s.SendFrame(pings)
					synctest.Wait()
					most = max(most, kit.Heap()-before)
				}
				if most > 256<<10 {
					t.Errorf("memory has grown by %d bytes", most)
				}
				s.Resume()
				if !tc.closed {
					s.Quiet()
					return
				}
				if code, _ := s.Closed(); code != ws.ClosePolicy {
					t.Errorf("closed with %d", code)
				}
				if n := met.Of(pond.LimitControlRate); n != 1 {
					t.Errorf("observed %d times", n)
				}
			})
		})
	}
}

// The server stops inflating a message at the size limit.
func TestAttackInflateBomb(t *testing.T) {
	const size = 64 << 20 / min(kit.Slowdown, 4)
	bomb := deflated(t, strings.Repeat("\x00", 1<<20), size>>20)
	for name, frames := range map[string][]byte{
		"one frame": ws.AppendMasked(nil, ws.Text, true, true, someMask, bomb),
		"two frames": ws.AppendMasked(ws.AppendMasked(nil, ws.Binary, false, true, someMask, bomb[:100]),
			ws.Continuation, true, false, someMask, bomb[100:]),
	} {
		t.Run(name, func(t *testing.T) {
			var met kit.Limits
			p := pond.New(met.Observer())
			p.Endpoint("/socket", kit.Accept, pond.WithCompression(1))
			pondtest.Run(t, p, func(t *testing.T, d *pondtest.Driver) {
				s := d.Connect(pondtest.WebSocket, "/socket", offerDeflate)
				before := allocated()
				s.SendFrame(frames)
				if m := s.Receive(); kit.Status(t, m) != 413 {
					t.Errorf("got %v", m)
				}
				if code, _ := s.Closed(); code != ws.CloseTooBig {
					t.Errorf("closed with %d", code)
				}
				if n := allocated() - before; n > 8<<20 {
					t.Errorf("%d bytes were allocated for %d that make %d", n, len(bomb), size)
				}
				if n := met.Of(pond.LimitMessage); n != 1 {
					t.Errorf("observed %d times", n)
				}
			})
		})
	}
}

var offerDeflate = pondtest.Header("Sec-WebSocket-Extensions", "permessage-deflate")

// deflated returns the payload of one compressed message: text, repeated.
func deflated(t *testing.T, text string, times int) []byte {
	t.Helper()
	var buf bytes.Buffer
	w, err := flate.NewWriter(&buf, flate.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	for range times {
		if _, err := w.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte{0, 0, 0xff, 0xff})
}

// Each message is inflated on its own. Compressed data that refers to an earlier
// message, of the same client or of another, is corrupt.
func TestAttackInflateContext(t *testing.T) {
	var buf bytes.Buffer
	w, err := flate.NewWriter(&buf, flate.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	var messages [2][]byte
	for i := range messages {
		buf.Reset()
		w.Write([]byte(ask))
		w.Flush()
		messages[i] = bytes.Clone(bytes.TrimSuffix(buf.Bytes(), []byte{0, 0, 0xff, 0xff}))
	}
	p, _, _ := kit.NewPond(pond.WithCompression(1))
	pondtest.Run(t, p, func(t *testing.T, d *pondtest.Driver) {
		s := d.Connect(pondtest.WebSocket, "/socket", offerDeflate)
		s.Join("/chat/1", nil)
		s.SendFrame(ws.AppendMasked(nil, ws.Text, true, true, someMask, messages[0]))
		s.Expect("answer")
		s.SendFrame(ws.AppendMasked(nil, ws.Text, true, true, someMask, messages[1]))
		if code, _ := s.Closed(); code != ws.CloseInvalidPayload {
			t.Errorf("closed with %d", code)
		}
	})
}

// allocated returns the total number of bytes that the process allocated so far.
func allocated() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.TotalAlloc
}
