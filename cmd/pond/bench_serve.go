package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime/debug"
	"strings"
	"time"

	"github.com/pondsocket/pond"
)

// benchEndpoint adds the endpoint that bench measures.
func benchEndpoint(p *pond.Pond) {
	endpoint := p.Endpoint("/socket", func(ctx *pond.ConnectionContext) error { return ctx.Accept() })
	lobby := endpoint.Lobby("/chat/:room", func(ctx *pond.JoinContext) error {
		var join struct {
			Track json.RawMessage `json:"track"` // the presence of the member
		}
		if err := ctx.Bind(&join); err != nil {
			return err
		}
		if err := ctx.Accept(); err != nil || join.Track == nil {
			return err
		}
		return ctx.Track(join.Track)
	}, pond.WithPresenceDiffs())
	lobby.OnMessage("message", func(ctx *pond.EventContext) error { return ctx.Broadcast(ctx.Event(), ctx.Payload()) })
	lobby.OnMessage("echo", func(ctx *pond.EventContext) error { return ctx.Reply(ctx.Event(), ctx.Payload()) })

	latest := endpoint.Lobby("/latest/:room", func(ctx *pond.JoinContext) error { return ctx.Accept() },
		pond.WithSlowClients(pond.KeepLatest(nil)))
	latest.OnMessage("message", func(ctx *pond.EventContext) error { return ctx.Broadcast(ctx.Event(), ctx.Payload()) })

	logs := endpoint.Lobby("/log/:room", func(ctx *pond.JoinContext) error { return ctx.Accept() }, pond.WithHistory(pond.History{}))
	logs.OnMessage("message", func(ctx *pond.EventContext) error { return ctx.Broadcast(ctx.Event(), ctx.Payload()) })
}

// serveBench serves until ctx is done or, if commands is not nil, until commands ends.
// There is one command: collect garbage.
func serveBench(ctx context.Context, addr string, commands io.Reader, stdout, stderr io.Writer) error {
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(stdout, "%shttp://%s/socket (Ctrl+C stops)\n", serverPrefix, visitable(ln.Addr())); err != nil {
		return errors.Join(err, ln.Close())
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	if commands != nil {
		go func() {
			defer stop()
			for lines := bufio.NewScanner(commands); lines.Scan(); {
				debug.FreeOSMemory()
				if _, err := fmt.Fprintln(stdout, collected); err != nil {
					return
				}
			}
		}()
	}
	p := pond.New(pond.WithLogger(slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))))
	benchEndpoint(p)
	return p.Serve(ctx, &http.Server{Handler: p, ReadHeaderTimeout: 5 * time.Second}, ln)
}

// The messages between a benchServer and its parent process.
const (
	serverPrefix = "pond bench: "
	collect      = "gc"
	collected    = "collected"
)

// pipedStdin returns the standard input if it is a pipe from a parent process, else nil.
func pipedStdin() io.Reader {
	info, err := os.Stdin.Stat()
	if err != nil || info.Mode()&os.ModeNamedPipe == 0 {
		return nil
	}
	return os.Stdin
}

// A benchServer is a child process that serves. It ends when its standard input is
// closed, which also happens when this process ends for any reason.
type benchServer struct {
	url    string
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	stdout *bufio.Reader
}

func startBenchServer(ctx context.Context, stderr io.Writer, args ...string) (*benchServer, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	s := &benchServer{cmd: exec.CommandContext(ctx, program, append([]string{"bench", "-serve", "127.0.0.1:0"}, args...)...)} //nolint:gosec // this program itself
	s.cmd.Stderr = stderr
	s.cmd.Cancel = func() error { return s.stdin.Close() }
	s.cmd.WaitDelay = 10 * time.Second // after this time, it is killed
	if s.stdin, err = s.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	stdout, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	s.stdout = bufio.NewReader(stdout)
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	line, err := s.stdout.ReadString('\n')
	url, ok := strings.CutPrefix(line, serverPrefix)
	if err == nil && !ok {
		err = fmt.Errorf("unexpected output %q", line)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start the server: %w", err), s.stop())
	}
	s.url, _, _ = strings.Cut(url, " ")
	return s, nil
}

// collect makes the server collect garbage, and waits for it.
func (s *benchServer) collect() error {
	if _, err := fmt.Fprintln(s.stdin, collect); err != nil {
		return err
	}
	line, err := s.stdout.ReadString('\n')
	if err == nil && line != collected+"\n" {
		err = fmt.Errorf("unexpected output %q", line)
	}
	return err
}

// stop ends the server and waits for it.
func (s *benchServer) stop() error {
	_ = s.stdin.Close() // may be closed already
	kill := time.AfterFunc(s.cmd.WaitDelay, func() { _ = s.cmd.Process.Kill() })
	defer kill.Stop()
	_, err := io.Copy(io.Discard, s.stdout) // Wait must be called after all output is read
	if err := errors.Join(err, s.cmd.Wait()); err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("stop the server: %w", err)
	}
	return nil
}
