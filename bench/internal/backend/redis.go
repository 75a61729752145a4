//go:build linux

// Package backend runs the Redis server of a cluster, and makes it fail.
package backend

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// A Redis is a redis-server that stores nothing on the disk. Its methods must not be called
// concurrently.
type Redis struct {
	Addr string

	dir string
	cmd *exec.Cmd
}

// timeout limits the time until the server answers.
const timeout = 10 * time.Second

// Start runs a server on a free port.
func Start(ctx context.Context) (*Redis, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &Redis{Addr: l.Addr().String()}
	l.Close()
	if r.dir, err = os.MkdirTemp("", "bench-redis-"); err != nil {
		return nil, err
	}
	if err := r.Run(ctx); err != nil {
		return nil, errors.Join(err, r.Stop())
	}
	return r, nil
}

// Run starts the process, and waits until it answers. It ends when ctx is done, or with
// this program.
func (r *Redis) Run(ctx context.Context) error {
	_, port, _ := net.SplitHostPort(r.Addr)
	r.cmd = exec.CommandContext(ctx, "redis-server", "--port", port, "--bind", "127.0.0.1", "--dir", r.dir,
		"--save", "", "--appendonly", "no", "--loglevel", "warning")
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := r.cmd.Start(); err != nil {
		return fmt.Errorf("redis-server: %w (in Debian it is in the package redis-server)", err)
	}
	for deadline := time.Now().Add(timeout); ; <-time.After(5 * time.Millisecond) {
		err := r.Command(ctx, "PING")
		if err == nil || time.Now().After(deadline) {
			return err
		}
	}
}

// PID returns the process ID.
func (r *Redis) PID() int { return r.cmd.Process.Pid }

// Kill ends the process at once, and loses all data.
func (r *Redis) Kill() error {
	if err := r.cmd.Process.Kill(); err != nil {
		return err
	}
	_ = r.cmd.Wait() // it was killed
	return nil
}

// Pause stops the process until Continue. Its connections stay open.
func (r *Redis) Pause() error { return r.cmd.Process.Signal(syscall.SIGSTOP) }

// Continue continues the process.
func (r *Redis) Continue() error { return r.cmd.Process.Signal(syscall.SIGCONT) }

// Cut closes the connections of all clients.
func (r *Redis) Cut(ctx context.Context) error {
	return r.Command(ctx, "CLIENT KILL TYPE pubsub", "CLIENT KILL TYPE normal SKIPME yes")
}

// Stop ends the process and removes its directory.
func (r *Redis) Stop() error {
	if r.cmd != nil && r.cmd.ProcessState == nil {
		_ = r.Kill()
	}
	return os.RemoveAll(r.dir)
}

// Command runs commands on one connection.
func (r *Redis) Command(ctx context.Context, commands ...string) error {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", r.Addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(timeout))
	in := bufio.NewReader(conn)
	for _, command := range commands {
		if _, err := fmt.Fprintf(conn, "%s\r\n", command); err != nil {
			return err
		}
		line, err := in.ReadString('\n')
		if err != nil {
			return err
		}
		if strings.HasPrefix(line, "-") {
			return fmt.Errorf("%s: %s", command, strings.TrimSpace(line))
		}
	}
	return nil
}
