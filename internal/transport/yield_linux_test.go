package transport

import (
	"net"
	"runtime"
	"sync/atomic"
	"testing"
)

// Goroutines whose data arrived run before yieldToReaders returns, although the caller
// is ready all the time.
func TestYieldToReaders(t *testing.T) {
	const readers, rounds = 20, 20
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var read atomic.Int64
	var clients []net.Conn
	done := make(chan struct{})
	for range readers {
		client, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		clients = append(clients, client)
		conn, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		go func() {
			var b [1]byte
			for {
				if _, err := conn.Read(b[:]); err != nil {
					done <- struct{}{}
					return
				}
				read.Add(1)
			}
		}()
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	for range rounds {
		for _, client := range clients {
			if _, err := client.Write([]byte{1}); err != nil {
				t.Fatal(err)
			}
		}
		yieldToReaders()
	}
	if got := read.Load(); got < readers*rounds/2 { // sometimes the runtime looks for data in between
		t.Errorf("%d of %d bytes were read", got, readers*rounds)
	}
	for _, client := range clients {
		client.Close()
		<-done
	}
}
