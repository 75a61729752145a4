package pipenet_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pondsocket/pond/internal/pipenet"
)

// inBubble runs test with both ends of a connection that buffers 8 bytes in each
// direction. The test fails if a goroutine remains.
func inBubble(t *testing.T, test func(t *testing.T, client, server *pipenet.Conn)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		client, server := pipenet.Pipe(8)
		defer client.Close()
		defer server.Close()
		test(t, client, server)
	})
}

func write(t *testing.T, c net.Conn, text string) {
	t.Helper()
	if n, err := c.Write([]byte(text)); n != len(text) || err != nil {
		t.Fatalf("Write(%q) = %d, %v", text, n, err)
	}
}

func wantRead(t *testing.T, c net.Conn, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != want {
		t.Fatalf("read %q, %v, want %q", got, err, want)
	}
}

func wantErr(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("%s: error %v, want %v", what, err, want)
	}
}

func readErr(c net.Conn) error {
	_, err := c.Read(make([]byte, 1))
	return err
}

func writeErr(c net.Conn) error {
	_, err := c.Write([]byte("x"))
	return err
}

// later starts f and returns a function that waits until the bubble is idle and
// reports whether f returned.
func later(f func()) (done func() bool) {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		f()
	}()
	return func() bool {
		synctest.Wait()
		select {
		case <-ended:
			return true
		default:
			return false
		}
	}
}

func TestBothSidesMayWriteFirst(t *testing.T) {
	inBubble(t, func(t *testing.T, client, server *pipenet.Conn) {
		write(t, client, "question")
		write(t, server, "answer")
		wantRead(t, client, "answer")
		wantRead(t, server, "question")
	})
}

func TestWriteWaitsForSpace(t *testing.T) {
	inBubble(t, func(t *testing.T, client, server *pipenet.Conn) {
		text := "much more than eight bytes"
		written := later(func() { write(t, client, text) })
		if written() {
			t.Fatal("a write did not wait for a reader")
		}
		wantRead(t, server, text)
		if !written() {
			t.Fatal("a write still waits after everything was read")
		}
	})
}

func TestReadWaitsForData(t *testing.T) {
	inBubble(t, func(t *testing.T, client, server *pipenet.Conn) {
		read := later(func() { wantRead(t, server, "x") })
		if read() {
			t.Fatal("a read did not wait for data")
		}
		write(t, client, "x")
		if !read() {
			t.Fatal("a read still waits after data arrived")
		}
	})
}

func TestWritesDoNotMix(t *testing.T) {
	inBubble(t, func(t *testing.T, client, server *pipenet.Conn) {
		var writers sync.WaitGroup
		for i := range 4 {
			writers.Go(func() { write(t, client, string(bytes.Repeat([]byte{'a' + byte(i)}, 30))) })
		}
		go func() {
			writers.Wait()
			client.Close()
		}()
		got, err := io.ReadAll(server)
		if err != nil || len(got) != 120 {
			t.Fatalf("read %d bytes, %v, want 120", len(got), err)
		}
		if runs := slices.Compact(got); len(runs) != 4 {
			t.Errorf("the writes of four writers are mixed: %d runs", len(runs))
		}
	})
}

func TestEmptyReadAndWriteDoNotWait(t *testing.T) {
	inBubble(t, func(t *testing.T, client, _ *pipenet.Conn) {
		if n, err := client.Read(nil); n != 0 || err != nil {
			t.Errorf("Read(nil) = %d, %v", n, err)
		}
		write(t, client, "12345678")
		if n, err := client.Write(nil); n != 0 || err != nil {
			t.Errorf("Write(nil) = %d, %v", n, err)
		}
	})
}

func TestClose(t *testing.T) {
	inBubble(t, func(t *testing.T, client, server *pipenet.Conn) {
		write(t, client, "bye")
		client.Close()
		wantErr(t, "second Close", client.Close(), nil)
		wantErr(t, "own read", readErr(client), net.ErrClosed)
		wantErr(t, "own write", writeErr(client), net.ErrClosed)
		wantErr(t, "own deadline", client.SetDeadline(time.Now()), net.ErrClosed)
		wantErr(t, "write to a closed end", writeErr(server), syscall.EPIPE)
		wantRead(t, server, "bye")
		if err := readErr(server); err != io.EOF { //nolint:errorlint // readers compare with ==
			t.Errorf("read after the end: error %v, want io.EOF itself", err)
		}
	})
}

func TestCloseWakesAll(t *testing.T) {
	for name, hangUp := range map[string]func(client, server *pipenet.Conn){
		"Close": func(client, server *pipenet.Conn) { client.Close(); server.Close() },
		"Reset": func(client, _ *pipenet.Conn) { client.Reset() },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, client, server *pipenet.Conn) {
				write(t, client, "12345678")
				server.Hold()
				blocked := later(func() {
					var all sync.WaitGroup
					all.Go(func() { readErr(client) })
					all.Go(func() { readErr(server) })
					all.Go(func() { writeErr(client) })
					all.Go(func() { writeErr(client) }) // waits for the other
					all.Wait()
				})
				if blocked() {
					t.Fatal("no goroutine waits")
				}
				hangUp(client, server)
				if !blocked() {
					t.Fatal("a goroutine still waits")
				}
			})
		})
	}
}

func TestResetLosesDataInTransit(t *testing.T) {
	inBubble(t, func(t *testing.T, client, server *pipenet.Conn) {
		write(t, client, "lost")
		client.Reset()
		for name, c := range map[string]*pipenet.Conn{"cutter": client, "other": server} {
			wantErr(t, name+" reads", readErr(c), syscall.ECONNRESET)
			wantErr(t, name+" writes", writeErr(c), syscall.ECONNRESET)
			if opErr, ok := errors.AsType[*net.OpError](readErr(c)); !ok || opErr.Op != "read" {
				t.Errorf("%s reads: error is %#v, want the *net.OpError of a read", name, opErr)
			}
		}
	})
}

func TestHoldHidesEverything(t *testing.T) {
	inBubble(t, func(t *testing.T, client, server *pipenet.Conn) {
		write(t, client, "early")
		server.Hold()
		read := later(func() { wantRead(t, server, "early") })
		write(t, client, "tly") // the rest of the buffer
		wrote := later(func() { write(t, client, "more") })
		if read() || wrote() {
			t.Fatal("data passes Hold")
		}
		server.Release()
		if !read() || !wrote() {
			t.Fatal("a goroutine waits after Release")
		}
		wantRead(t, server, "tlymore")
		server.Hold()
		client.Close()
		end := later(func() { wantErr(t, "read", readErr(server), io.EOF) })
		if end() {
			t.Fatal("Hold does not hide the end")
		}
		server.Release()
		if !end() {
			t.Fatal("Release does not show the end")
		}
	})
}

func TestDeadlines(t *testing.T) {
	inBubble(t, func(t *testing.T, client, _ *pipenet.Conn) {
		write(t, client, "12345678")
		for _, op := range []struct {
			name string
			set  func(time.Time) error
			wait func(net.Conn) error
		}{
			{"read", client.SetReadDeadline, readErr},
			{"write", client.SetWriteDeadline, writeErr},
			{"both, seen by a read", client.SetDeadline, readErr},
			{"both, seen by a write", client.SetDeadline, writeErr},
		} {
			start := time.Now()
			op.set(start.Add(time.Hour)) // replaced before it expires
			op.set(start.Add(time.Minute))
			err := op.wait(client)
			wantErr(t, op.name, err, os.ErrDeadlineExceeded)
			if timeout, ok := errors.AsType[net.Error](err); !ok || !timeout.Timeout() {
				t.Errorf("%s: %v is not a timeout", op.name, err)
			}
			if waited := time.Since(start); waited != time.Minute {
				t.Errorf("%s: waited %v, want a minute", op.name, waited)
			}
			wantErr(t, op.name+" again", op.wait(client), os.ErrDeadlineExceeded)

			op.set(time.Time{})
			blocked := later(func() { wantErr(t, op.name, op.wait(client), os.ErrDeadlineExceeded) })
			time.Sleep(24 * time.Hour)
			if blocked() {
				t.Fatalf("%s: a deadline that was removed expired", op.name)
			}
			op.set(time.Unix(1, 0)) // net/http interrupts its own reads like this
			if !blocked() {
				t.Fatalf("%s: a deadline in the past does not wake", op.name)
			}
			op.set(time.Time{})
		}
	})
}

func TestDeadlineOfAWriterInTheQueue(t *testing.T) {
	inBubble(t, func(t *testing.T, client, _ *pipenet.Conn) {
		blocked := later(func() { client.Write(make([]byte, 9)) })
		if blocked() {
			t.Fatal("the buffer is larger than requested")
		}
		client.SetWriteDeadline(time.Now().Add(time.Second))
		n, err := client.Write([]byte("x"))
		wantErr(t, "second writer", err, os.ErrDeadlineExceeded)
		if n != 0 || !blocked() {
			t.Errorf("second writer wrote %d bytes; first returned: %v", n, blocked())
		}
	})
}

func TestPartOfAWriteIsCounted(t *testing.T) {
	inBubble(t, func(t *testing.T, client, server *pipenet.Conn) {
		client.SetWriteDeadline(time.Now().Add(time.Second))
		n, err := client.Write([]byte("1234567890"))
		wantErr(t, "Write", err, os.ErrDeadlineExceeded)
		if n != 8 {
			t.Errorf("Write wrote %d bytes, want 8", n)
		}
		wantRead(t, server, "12345678")
	})
}
