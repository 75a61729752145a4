// Package serve runs a server of the benchmark as a child process: it prints its address,
// collects garbage on request, and exits when its parent exits for any reason.
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

// Lifetime is the maximum lifetime of a server.
var Lifetime = flag.Duration("lifetime", 10*time.Minute, "exit after this time")

// Compress enables compression for clients that request it.
var Compress = flag.Bool("compress", false, "compress messages for clients that request it")

// Redis is the address of the Redis server that connects the nodes of a cluster.
var Redis = flag.String("redis", "", "be a node of the cluster at the Redis server with this `address`")

// HTTP serves h until standard input ends. It sets only the timeouts that a quick start
// sets.
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

// Listen listens on a free port of the loopback interface and prints the address.
func Listen() (net.Listener, error) {
	var config net.ListenConfig
	l, err := config.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	fmt.Println("listening", l.Addr())
	return l, nil
}

// Obey runs the commands in r and writes answers to w. It returns at the end of r or of
// the server's lifetime. The only command is "gc": collect garbage and return memory to
// the system.
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
				_, _ = fmt.Fprintln(w, "collected") // if the parent exited, r ends as well
			}
		}
	}
}
