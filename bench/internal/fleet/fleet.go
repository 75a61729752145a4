//go:build linux

// Package fleet has the servers that the benchmark compares, and puts them where
// they can be started.
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

// A Server is one of those that are compared.
type Server struct {
	Name  string
	About string // what it is, in the report

	version func(*Fleet) string
	install func(context.Context, *Fleet) error
	here    func(*Fleet) bool // nil: it only takes a compiler
	command func(*Fleet) []string
	dashes  string // before its flags
}

// A Fleet is all servers, in a directory of what was built and installed.
type Fleet struct {
	Source    string // the directory of this module
	Artifacts string
}

// Servers are all servers, in the order of the report.
func Servers() []Server {
	return []Server{
		goServer("pond", "this repository: its quick start", ""),
		goServer("centrifuge", "the tutorial in its README: engine in memory, JSON protocol", "github.com/centrifugal/centrifuge"),
		goServer("melody", "rooms by BroadcastFilter, as in its examples", "github.com/olahol/melody"),
		goServer("coder", "coder/websocket with a room made by hand, after the chat among its examples", "github.com/coder/websocket"),
		{
			Name: "socket.io", About: "Node.js, `io.to(room).emit`, WebSocket transport",
			version: func(f *Fleet) string { return f.pinned("socketio/package.json", `"socket.io": "`) },
			here:    func(f *Fleet) bool { return f.installed(filepath.Join(f.Artifacts, nodeDir), nodeVersions) },
			install: installNode, command: nodeCommand, dashes: "--",
		},
		{
			Name: "pondsocket-asgi", About: "the Python original under uvicorn with uvloop: its quick start",
			version: func(f *Fleet) string { return f.pinned("asgi/requirements.txt", "pondsocket-asgi==") },
			here:    func(f *Fleet) bool { return f.installed(filepath.Join(f.Artifacts, pythonDir), pythonVersions) },
			install: installPython, command: pythonCommand, dashes: "-",
		},
		goServer("epoll", "the floor: an epoll loop without net/http, one prepared frame, one write per delivery", ""),
		{
			Name: "epoll-join", About: "the same, with all frames of a round joined into one write per member",
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

// Named returns the server of that name.
func Named(name string) (Server, bool) {
	for _, s := range Servers() {
		if s.Name == name {
			return s, true
		}
	}
	return Server{}, false
}

// Version returns which version is compared, or "" for what has none.
func (f *Fleet) Version(s Server) string { return s.version(f) }

// Installed reports whether [Fleet.Install] would need no package registry.
func (f *Fleet) Installed(s Server) bool { return s.here == nil || s.here(f) }

// Install builds or installs s. It returns why that is not possible.
func (f *Fleet) Install(ctx context.Context, s Server) error { return s.install(ctx, f) }

// Start runs s until [process.Process.Stop], or until ctx is done. With compress,
// it compresses messages for clients that ask for it.
func (f *Fleet) Start(ctx context.Context, s Server, compress bool) (*process.Process, error) {
	command := s.command(f)
	if compress {
		command = append(command, s.dashes+"compress")
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

// Commit returns the commit of the repository that is measured.
func (f *Fleet) Commit(ctx context.Context) string {
	cmd := exec.CommandContext(ctx, "git", "describe", "--always", "--dirty")
	cmd.Dir = f.Source
	out, err := cmd.Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}

// moduleVersion asks go.mod.
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

// pinned returns what follows prefix in a file of the servers.
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
