//go:build linux

// Package fleet builds, installs and starts the servers that the benchmark compares.
package fleet

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/pondsocket/pond/bench/internal/process"
)

// A Server is a server in the comparison.
type Server struct {
	Name  string
	About string // the description in the report

	version func(*Fleet) string
	install func(context.Context, *Fleet) error
	here    func(*Fleet) bool // nil if it needs only a compiler
	command func(*Fleet) []string
	dashes  string // the prefix of its flags
}

// A Fleet holds all servers, and the directory in which they are built and installed.
type Fleet struct {
	Source    string // the directory of this module
	Artifacts string
}

// Servers returns all servers, in the order of the report.
func Servers() []Server {
	return []Server{
		goServer("pond", "this repository, as in its quick start", ""),
		goServer("centrifuge", "as in the tutorial of its README: memory engine, JSON protocol", "github.com/centrifugal/centrifuge"),
		goServer("melody", "rooms with BroadcastFilter, as in its examples", "github.com/olahol/melody"),
		goServer("coder", "coder/websocket with hand-written rooms, based on the chat in its examples", "github.com/coder/websocket"),
		{
			Name: "socket.io", About: "Node.js, `io.to(room).emit`, WebSocket transport",
			version: func(f *Fleet) string { return f.pinned("socketio/package.json", `"socket.io": "`) },
			here:    func(f *Fleet) bool { return f.installed(filepath.Join(f.Artifacts, nodeDir), nodeVersions) },
			install: installNode, command: nodeCommand, dashes: "--",
		},
		{
			Name: "pondsocket-asgi", About: "the Python original, as in its quick start, under uvicorn with uvloop",
			version: func(f *Fleet) string { return f.pinned("asgi/requirements.txt", "pondsocket-asgi==") },
			here:    func(f *Fleet) bool { return f.installed(filepath.Join(f.Artifacts, pythonDir), pythonVersions) },
			install: installPython, command: pythonCommand, dashes: "-",
		},
		goServer("epoll", "a lower bound: an epoll loop without net/http, one prepared frame, one write per delivery", ""),
		{
			Name: "epoll-join", About: "the same, but with all frames of a round combined into one write per member",
			version: func(*Fleet) string { return "" },
			install: func(ctx context.Context, f *Fleet) error { return f.build(ctx, "epoll") },
			command: func(f *Fleet) []string { return []string{f.binary("epoll"), "-join"} },
			dashes:  "-",
		},
	}
}

func goServer(name, about, module string) Server {
	return Server{
		Name: name, About: about,
		version: func(f *Fleet) string { return f.moduleVersion(module) },
		install: func(ctx context.Context, f *Fleet) error { return f.build(ctx, name) },
		command: func(f *Fleet) []string { return []string{f.binary(name)} },
		dashes:  "-",
	}
}

// Named returns the server with the given name.
func Named(name string) (Server, bool) {
	for _, s := range Servers() {
		if s.Name == name {
			return s, true
		}
	}
	return Server{}, false
}

// Version returns the version of s, or "" if it has none.
func (f *Fleet) Version(s Server) string { return s.version(f) }

// Installed reports whether [Fleet.Install] does not need a package registry.
func (f *Fleet) Installed(s Server) bool { return s.here == nil || s.here(f) }

// Install builds or installs s.
func (f *Fleet) Install(ctx context.Context, s Server) error { return s.install(ctx, f) }

// Start runs s until [process.Process.Stop] is called or ctx is done. The flags have no
// dashes: with "compress", s compresses messages for clients that request it.
func (f *Fleet) Start(ctx context.Context, s Server, flags ...string) (*process.Process, error) {
	command := s.command(f)
	for _, flag := range flags {
		command = append(command, s.dashes+flag)
	}
	return process.Start(ctx, command)
}

func (f *Fleet) binary(name string) string { return filepath.Join(f.Artifacts, "bin", name) }

func (f *Fleet) build(ctx context.Context, name string) error {
	return f.run(ctx, f.Source, "go", "build", "-o", f.binary(name), "./servers/"+name)
}

func (f *Fleet) run(ctx context.Context, dir, program string, args ...string) error {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", cmd, err, out)
	}
	return nil
}

// Commit returns the measured commit of the repository.
func (f *Fleet) Commit(ctx context.Context) string {
	cmd := exec.CommandContext(ctx, "git", "describe", "--always", "--dirty")
	cmd.Dir = f.Source
	out, err := cmd.Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}

// moduleVersion returns the version of a module in go.mod.
func (f *Fleet) moduleVersion(module string) string {
	if module == "" {
		return ""
	}
	text, err := os.ReadFile(filepath.Join(f.Source, "go.mod"))
	if err != nil {
		return ""
	}
	return after(string(text), module+" ")
}

// pinned returns the version after prefix in a file of the servers.
func (f *Fleet) pinned(file, prefix string) string {
	text, err := os.ReadFile(filepath.Join(f.Source, "servers", file))
	if err != nil {
		return ""
	}
	return after(string(text), prefix)
}

func after(text, prefix string) string {
	_, rest, _ := strings.Cut(text, prefix)
	end := strings.IndexAny(rest, "\"\n ")
	return rest[:max(end, 0)]
}
