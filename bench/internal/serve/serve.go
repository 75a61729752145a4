// Package serve makes a server of the benchmark a process that its runner owns:
// it says where it listens, collects garbage when it is asked to, and ends when
// the runner does, whatever becomes of the runner.
package serve

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"runtime/debug"
	"time"
)

// Lifetime is how long a server lives at most.
var Lifetime = flag.Duration("lifetime", 10*time.Minute, "end after this time")

// Compress is whether to compress messages for clients that ask for it.
var Compress = flag.Bool("compress", false, "compress messages for clients that ask for it")

// HTTP serves h until standard input ends. It sets no timeouts that a quick
// start does not set.
func HTTP(h http.Handler) error {
	l, err := Listen()
	if err != nil {
		return err
	}
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
	go func() {
		Obey(os.Stdin, os.Stdout)
		_ = srv.Close() // ends Serve
	}()
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// Listen listens on a free port of the loopback interface and says which.
func Listen() (net.Listener, error) {
	var config net.ListenConfig
	l, err := config.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	fmt.Println("listening", l.Addr())
	return l, nil
}

// Obey does what the lines of r ask for, answers in w, and returns at the end of
// r or of the server's lifetime. The one command is "gc": collect, and return
// memory to the system.
func Obey(r io.Reader, w io.Writer) {
	lines := make(chan string)
	go func() {
		defer close(lines)
		for in := bufio.NewScanner(r); in.Scan(); {
			lines <- in.Text()
		}
	}()
	end := time.After(*Lifetime)
	for {
		select {
		case <-end:
			return
		case line, ok := <-lines:
			if !ok {
				return
			}
			if line == "gc" {
				runtime.GC()
				debug.FreeOSMemory()
				_, _ = fmt.Fprintln(w, "collected") // a runner that is gone has closed r, too
			}
		}
	}
}
