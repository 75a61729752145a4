//go:build linux

// Package process runs the servers of the benchmark in separate processes, and measures
// their CPU time.
package process

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A Process is a running server.
type Process struct {
	Addr string // where it listens

	cmd    *exec.Cmd
	stdin  io.WriteCloser
	lines  chan string // of the standard output; closed at its end
	stderr *tail
	once   sync.Once
	err    error // set by once
}

// timeout limits the time to start, to collect garbage, and to exit.
const timeout = 20 * time.Second

// Start runs a server and waits until it listens. The server is killed when ctx is done.
func Start(ctx context.Context, command []string) (*Process, error) {
	p := &Process{
		cmd:    exec.CommandContext(ctx, command[0], command[1:]...),
		lines:  make(chan string, 16),
		stderr: &tail{},
	}
	p.cmd.Stderr = p.stderr
	p.cmd.WaitDelay = time.Second
	var err error
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		defer close(p.lines)
		for in := bufio.NewScanner(stdout); in.Scan(); {
			p.lines <- in.Text()
		}
	}()
	line, err := p.line()
	addr, ok := strings.CutPrefix(line, "listening ")
	if err == nil && !ok {
		err = fmt.Errorf("unexpected output %q", line)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", command[0], err), p.Stop())
	}
	p.Addr = addr
	return p, nil
}

// PID returns the process ID.
func (p *Process) PID() int { return p.cmd.Process.Pid }

func (p *Process) line() (string, error) {
	select {
	case line, ok := <-p.lines:
		if !ok {
			return "", errors.New("the server exited")
		}
		return line, nil
	case <-time.After(timeout):
		return "", errors.New("no output from the server")
	}
}

// Collect makes the server collect garbage and return memory to the system, if its
// runtime can.
func (p *Process) Collect() error {
	if _, err := io.WriteString(p.stdin, "gc\n"); err != nil {
		return err
	}
	line, err := p.line()
	if err == nil && line != "collected" {
		err = fmt.Errorf("unexpected output %q", line)
	}
	return err
}

// Stop ends the server by closing its standard input. It kills the server if it does not
// exit. Stop returns an error if the server failed.
func (p *Process) Stop() error {
	p.once.Do(func() {
		_ = p.stdin.Close()
		kill := time.AfterFunc(timeout, func() { _ = p.cmd.Process.Kill() })
		defer kill.Stop()
		for range p.lines { // Wait must be called after all output is read
		}
		if err := p.cmd.Wait(); err != nil {
			p.err = fmt.Errorf("%w: %s", err, p.stderr)
		}
	})
	return p.err
}

// CPU returns the CPU time of the server so far, in user and system mode.
func (p *Process) CPU() (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.PID()))
	if err != nil {
		return 0, err
	}
	// The second field is the name of the program in parentheses, and may contain spaces.
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	const user, system, tick = 11, 12, time.Second / 100 // for user space, on all platforms
	if len(fields) <= system {
		return 0, fmt.Errorf("invalid stat %q", stat)
	}
	u, err := strconv.ParseInt(string(fields[user]), 10, 64)
	if err != nil {
		return 0, err
	}
	s, err := strconv.ParseInt(string(fields[system]), 10, 64)
	return time.Duration(u+s) * tick, err
}

// tail keeps the end of the server's standard error.
type tail struct {
	mu   sync.Mutex
	text []byte
}

const kept = 2 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, p...)
	if len(t.text) > kept {
		t.text = append(t.text[:0], t.text[len(t.text)-kept:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(string(t.text))
}
