package pipenet_test

import (
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pondsocket/pond/internal/pipenet"
)

func TestUnplugHidesEverythingFromBoth(t *testing.T) {
	inBubble(t, func(t *testing.T, client, server *pipenet.Conn) {
		write(t, server, "early")
		client.Unplug()
		write(t, client, "12345678") // fills the buffer
		write(t, server, "789")
		read := later(func() { wantRead(t, client, "early789") })
		heard := later(func() { wantRead(t, server, "123456789") })
		wrote := later(func() { write(t, client, "9") })
		if read() || heard() || wrote() {
			t.Fatal("data passes Unplug")
		}
		client.Plug()
		if !read() || !heard() || !wrote() {
			t.Fatal("a goroutine still waits after Plug")
		}
	})
}

func TestUnplugHidesTheEnd(t *testing.T) {
	inBubble(t, func(t *testing.T, client, server *pipenet.Conn) {
		client.Unplug()
		server.Close()
		write(t, client, "12345678")
		client.SetWriteDeadline(time.Now().Add(time.Minute))
		wantErr(t, "write while unplugged", writeErr(client), os.ErrDeadlineExceeded)
		client.SetWriteDeadline(time.Time{})
		end := later(func() { wantErr(t, "read", readErr(client), io.EOF) })
		if end() {
			t.Fatal("the end passes Unplug")
		}
		client.Plug()
		if !end() {
			t.Fatal("the end did not arrive after Plug")
		}
		wantErr(t, "write", writeErr(client), syscall.EPIPE)
	})
}

func TestReleaseIsNotPlug(t *testing.T) {
	inBubble(t, func(t *testing.T, client, server *pipenet.Conn) {
		server.Hold()
		server.Unplug()
		write(t, client, "x")
		read := later(func() { wantRead(t, server, "x") })
		if server.Release(); read() {
			t.Fatal("Release ended Unplug")
		}
		server.Hold()
		if server.Plug(); read() {
			t.Fatal("Plug ended Hold")
		}
		if server.Release(); !read() {
			t.Fatal("Release and Plug are not enough")
		}
	})
}

func TestResetReachesAnUnpluggedEnd(t *testing.T) {
	inBubble(t, func(t *testing.T, client, server *pipenet.Conn) {
		client.Unplug()
		client.Reset()
		wantErr(t, "read", readErr(server), syscall.ECONNRESET)
		wantErr(t, "write", writeErr(server), syscall.ECONNRESET)
	})
}

// arrives reads want and checks how long it took to arrive.
func arrives(t *testing.T, c net.Conn, want string, after time.Duration) {
	t.Helper()
	began := time.Now()
	wantRead(t, c, want)
	if took := time.Since(began); took != after {
		t.Errorf("%q took %v, want %v", want, took, after)
	}
}

func TestDelay(t *testing.T) {
	inBubble(t, func(t *testing.T, client, server *pipenet.Conn) {
		write(t, client, "0")
		server.Delay(time.Second)
		write(t, client, "12")
		arrives(t, server, "0", 0)
		time.Sleep(time.Second / 2)
		write(t, client, "34")
		arrives(t, server, "12", time.Second/2)
		arrives(t, server, "34", time.Second/2)
		write(t, server, "back")
		arrives(t, client, "back", time.Second)

		write(t, client, "12345678")
		wrote := later(func() { write(t, client, "9") })
		if wrote() {
			t.Error("data in transit does not count as buffered")
		}
		arrives(t, server, "12345678", time.Second)
		if !wrote() {
			t.Error("there is space, but the write still waits")
		}
	})
}

func TestNothingOvertakes(t *testing.T) {
	inBubble(t, func(t *testing.T, client, server *pipenet.Conn) {
		client.Delay(time.Minute)
		write(t, client, "slow")
		client.Delay(0)
		write(t, client, "fast")
		client.Close()
		time.Sleep(time.Second)
		arrives(t, server, "slow", time.Minute-time.Second)
		arrives(t, server, "fast", 0)
		wantErr(t, "read", readErr(server), io.EOF)
	})
}

func TestTheEndIsDelayed(t *testing.T) {
	inBubble(t, func(t *testing.T, client, server *pipenet.Conn) {
		client.Delay(time.Second)
		client.Close()
		wantErr(t, "own read", readErr(client), net.ErrClosed)
		write(t, server, "x")
		began := time.Now()
		wantErr(t, "read", readErr(server), io.EOF)
		if took := time.Since(began); took != time.Second {
			t.Errorf("the end took %v", took)
		}
		synctest.Wait() // both directions end at the same time
		wantErr(t, "write", writeErr(server), syscall.EPIPE)
	})
}

func TestTrickle(t *testing.T) {
	inBubble(t, func(t *testing.T, client, server *pipenet.Conn) {
		client.Trickle()
		for name, ends := range map[string][2]net.Conn{"up": {client, server}, "down": {server, client}} {
			write(t, ends[0], "abc")
			for _, want := range "abc" {
				got := make([]byte, 8)
				if n, err := ends[1].Read(got); n != 1 || got[0] != byte(want) || err != nil {
					t.Errorf("%s: read %q, %v, want %q", name, got[:n], err, want)
				}
			}
		}
	})
}

func TestDialFrom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := pipenet.Listen(0)
		from := &net.TCPAddr{IP: net.IPv4(203, 0, 113, 7), Port: 4711}
		go func() {
			if _, err := l.DialFrom(t.Context(), from); err != nil {
				t.Error(err)
			}
		}()
		c, err := l.Accept()
		if err != nil || c.RemoteAddr() != from {
			t.Errorf("accepted %v, %v", c, err)
		}
	})
}
