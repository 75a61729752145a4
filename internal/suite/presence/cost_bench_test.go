package presence_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/internal/suite/kit"
)

// BenchmarkUpdate measures an update of one of 2,000 tracked members that all receive
// differences, and the same if one of them receives lists.
func BenchmarkUpdate(b *testing.B) {
	for _, bc := range []struct {
		name  string
		lists int
	}{{"differences", 0}, {"one list", 1}} {
		b.Run(bc.name, func(b *testing.B) {
			p := pond.New(pond.WithLogger(kit.Silent))
			e := p.Endpoint("/socket", kit.Accept)
			e.Lobby("/chat/:room", func(ctx *pond.JoinContext) error {
				if err := ctx.Accept(); err != nil {
					return err
				}
				return ctx.Track(ctx.Payload())
			}, pond.WithPresenceDiffs())
			server := httptest.NewServer(p)
			defer server.Close()
			var wg sync.WaitGroup
			defer wg.Wait()
			for i := range 2000 {
				want := `"want":["diff"],`
				if i < bc.lists {
					want = ""
				}
				conn := joinRoom(b, server.Listener.Addr().String(), want)
				defer conn.Close()
				wg.Go(func() { _, _ = io.Copy(io.Discard, conn) })
			}
			ch, ok := e.Channel(room)
			if !ok {
				b.Fatal("the channel is missing")
			}
			var id string
			for u := range ch.Users() {
				id = u.ID
			}
			presence := [2]map[string]int{{"n": 0}, {"n": 1}}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				if err := ch.Update(id, presence[i%2]); err != nil {
					b.Fatal(err)
				}
				i++
			}
		})
	}
}

// joinRoom opens a WebSocket that joins a room, and waits for the acknowledgement. The
// message has fewer than 126 bytes, so its length fits into one byte.
func joinRoom(b *testing.B, addr, want string) net.Conn {
	b.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		b.Fatal(err)
	}
	message := `{"action":"JOIN_CHANNEL","event":"JOIN_CHANNEL","channelName":"` + room + `","requestId":"1",` + want + `"payload":{}}`
	_, err = fmt.Fprintf(conn, "GET /socket HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n\x81%s\x00\x00\x00\x00%s", []byte{byte(0x80 | len(message))}, message)
	if err != nil {
		b.Fatal(err)
	}
	r := bufio.NewReader(conn)
	for text := ""; !strings.Contains(text, "ACKNOWLEDGE"); {
		buf := make([]byte, 4096)
		n, err := r.Read(buf)
		if err != nil {
			b.Fatal(err)
		}
		text += string(buf[:n])
	}
	return conn
}
